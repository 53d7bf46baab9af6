"""Connections to PostgreSQL: engines and pools, the wake-up of a sleeping database, errors and migrations.

Read `pool.py` first.
"""
