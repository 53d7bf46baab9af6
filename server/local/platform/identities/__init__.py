"""The platform's identities: access tokens and credentials, users and groups, and the check of each PostgreSQL login.

Read `credentials.py` first.
"""
