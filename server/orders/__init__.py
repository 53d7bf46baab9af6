"""Orders read from PostgreSQL: a call of the schema's port becomes a statement, and its rows become JSON or values.

Read `store.py` first. `reader.py` runs its statements, which the `sql_*.py` files compose.
"""
