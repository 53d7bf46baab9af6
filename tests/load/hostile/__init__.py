"""Hostile traffic of all kinds beside ordinary callers: `python -m tests.load.hostile`; read `__main__.py` first."""
