"""The server that runs the schema, over HTTP and PostgreSQL. It imports `schema`, which never imports it.

Start at `app.py`, which puts the parts together, and `lifespan.py`, which creates the objects behind them.
"""
