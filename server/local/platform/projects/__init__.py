"""The Postgres API: projects, branches, endpoints, databases, roles, snapshots, and the operations on them.

Requests are checked here and carried out by `compute`. Read `projects.py` first.
"""
