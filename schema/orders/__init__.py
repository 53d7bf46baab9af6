"""Orders and their status changes as GraphQL types and fields.

A field turns its arguments into a call of a port, and the result into GraphQL types. Read `queries.py` first.
"""
