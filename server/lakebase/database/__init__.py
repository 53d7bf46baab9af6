"""What administration reads and writes in PostgreSQL: table inspection, indexes, grants, the audit and the home.

Read `inspection.py` first.
"""
