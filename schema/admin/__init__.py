"""The administration of instances, catalogs and synced tables as GraphQL types and fields.

A field checks its input and asks the `Administration` port. Read `mutations.py` first.
"""
