"""Plans: a parsed operation becomes a JSON template that the store fills, so that nothing of it is executed.

Read `operation.py` first.
"""
