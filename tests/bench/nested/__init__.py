"""The nested bench: a page of orders with all that is around them, from our server and from four others.

`run.py` says what happens in which order; `query.py` has the query, and the rows that answer it.
"""
