"""Instances of the local platform: REST views, the lifecycle, and the PostgreSQL servers behind them.

Read `lifecycle.py` first.
"""
