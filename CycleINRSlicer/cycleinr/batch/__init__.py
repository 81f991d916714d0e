"""Many scans, each in isolation: locally or on a Dask cluster, resumed where it was interrupted.

`find` says which scans there are, `cases` reads them from a CSV too and gives each its output and its key, `folder`
keeps what is known about each in the output folder and says in a manifest how it went, `execute` runs one, `local` and
`cluster` run all. docs/batch.md has the rules. Nothing here imports torch or distributed before it is needed.
"""
