"""The platform's catalogs, synced tables and pipelines, and the copying of source tables into PostgreSQL.

Read `synced_tables.py` first.
"""
