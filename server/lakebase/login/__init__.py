"""Logins at an instance: its address, and tokens that are minted and renewed. Read `tokens.py` first."""
