"""The history of our own tables, one Alembic revision a file."""
