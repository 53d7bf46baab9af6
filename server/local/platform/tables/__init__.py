"""Catalogs, synced tables and their syncs on the local platform; `synced_tables.py` first."""
