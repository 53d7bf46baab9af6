"""Tables read from PostgreSQL, whichever they are: statements of pages and of JSON, and what runs them.

`reading/reader.py` runs statements, which the `sql_*.py` files compose for a `Source`, or for the `Sources` of several
tables: `sql_nested.py` writes rows with all that is nested in them.
"""
