"""The platform's database instances: their REST resources, their lifecycle, and the PostgreSQL servers behind them.

Read `lifecycle.py` first.
"""
