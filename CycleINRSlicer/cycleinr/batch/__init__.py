"""Many scans, each in isolation: locally or on a Dask cluster, resumed where it was interrupted (docs/batch.md).

A scan is a `find.Found`, then a `jobs.Job` that makes its result and a `results.Record` that says how it stands.
"""
