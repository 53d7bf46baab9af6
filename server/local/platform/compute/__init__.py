"""The PostgreSQL servers behind the endpoints: their lifecycle, and the copying of branches and snapshots.

Read `lifecycle.py` first.
"""
