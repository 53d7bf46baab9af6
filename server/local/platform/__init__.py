"""A local Lakebase: the platform's REST API over HTTP, with real PostgreSQL servers behind it. Read `app.py` first.

`python -m server.local.platform` runs it. Its options (`options.py`) are environment variables that begin with LOCAL_.
When it listens it prints one line of JSON: `host`, `token` and `user` of the operator, `client_id` and `client_secret`
of a service principal, and `pg_port`, the PostgreSQL port of every instance. Each instance has an address of its own,
from 127.0.0.2 upwards. SIGTERM and SIGINT stop the platform and every PostgreSQL. Started again on its directory, it
finds everything, even after a kill -9.
"""
