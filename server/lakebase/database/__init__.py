"""What administration does inside an instance's database: inspection, indexes and the audit trail.

Read `inspection.py` first.
"""
