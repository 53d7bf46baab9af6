"""What administration reads and writes in PostgreSQL: table inspection, indexes, grants and the audit trail.

Read `inspection.py` first.
"""
