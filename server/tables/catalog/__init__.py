"""Finds the served tables in the database's catalog: their columns, of which types, or why a table cannot be read.

Read `synced_table.py` first.
"""
