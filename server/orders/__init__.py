"""Orders read from PostgreSQL: a question of the schema becomes a statement, and its rows become JSON or values.

Read `store.py` first.
"""
