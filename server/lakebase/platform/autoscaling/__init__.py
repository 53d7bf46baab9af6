"""Administration by the Postgres API (`w.postgres`): instances are projects. Read `platform.py` first."""
