"""Many scans, each in isolation: locally or on a Dask cluster, resumed where it was interrupted.

`find` says which scans there are, `table` reads them from a CSV, `cases` gives each its output and its key, `folder`
keeps what is known about each in the output folder, `execute` runs one, `local` and `cluster` run all, `manifest` says
how it went. docs/batch.md has the rules. Nothing here imports torch or distributed before it is needed.
"""
