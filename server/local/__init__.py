"""What a laptop has in place of the cloud: `make run`, a local Lakebase, and embedded PostgreSQL servers.

The server never imports it. Read `README.md` first, then `__main__.py`.
"""
