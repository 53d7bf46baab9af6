"""SQL of tables, composed for a `Source`: pages, rows by key, rows of parents, counts, and rows written as JSON.

Read `pages.py` first. `json.py` writes the rows of one table, and `nested.py` rows with all that is nested in them.
"""
