"""The history of our own tables, one Alembic revision a file.

No revision has a `downgrade`, which would lose history or audit. An earlier release uses the tables as they are.
"""
