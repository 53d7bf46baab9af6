"""The stand-ins for the cloud on a laptop: `make run`, a local Lakebase, and embedded PostgreSQL servers.

The server never imports it. Read `README.md` first, then `__main__.py`.
"""
