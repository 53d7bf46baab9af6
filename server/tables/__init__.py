"""Tables read from PostgreSQL, whichever they are: statements of pages and of JSON, and what runs them.

`reader.py` runs statements, which the `sql_*.py` files compose for a `Source`.
"""
