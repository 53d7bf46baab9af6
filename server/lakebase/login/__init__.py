"""Logins to the platform's databases: their addresses, and tokens that are minted and renewed.

Read `instances.py` first.
"""
