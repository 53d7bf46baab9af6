"""Exports: every node of a connection, page after page, as NDJSON or CSV.

Read `operation.py` first: it makes the operation that reads a page. `pages.py` runs it, `formats.py` writes its rows,
`endpoint.py` sends them over HTTP, and `shell.py` writes them from a shell.
"""
