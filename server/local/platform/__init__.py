"""Owns a local Lakebase: the platform's REST over HTTP, and real PostgreSQLs behind it.

`python -m server.local.platform` runs it, with the options of `options.py` as LOCAL_... in its environment. When it
listens it prints one line of JSON: host, token and user (the operator's), client_id and client_secret (of a service
principal), and pg_port, on which every instance listens at an address of its own, 127.0.0.2 and upwards. SIGTERM and
SIGINT stop it and every PostgreSQL; started again on its directory it finds everything, even after a kill -9.

Whoever tests switches faults on and looks behind the scenes below /local/ (`routes.py`), with the operator's token.
"""
