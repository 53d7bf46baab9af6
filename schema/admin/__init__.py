"""The administration of instances, catalogs and synced tables as GraphQL types and fields.

A field checks its input and calls the `Administration` port. Read `mutations.py` first.
"""
