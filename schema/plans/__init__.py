"""Plans: an operation becomes a JSON template that the store fills, so graphql-core does not execute it.

Read `operation.py` first.
"""
