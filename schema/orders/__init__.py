"""Orders and their status changes as GraphQL types and fields.

A field turns its arguments into a question to a port, and the answer into types. Read `queries.py` first.
"""
