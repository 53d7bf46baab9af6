"""Tables read from PostgreSQL, whichever they are: statements of pages and of JSON, and what runs them.

`reading/reader.py` runs statements, which the files of `sql/` compose for a `Source`, or for the `Sources` of several
tables. `store.py` and `lookup.py` are the schema's ports.
"""
