"""Identities of the local platform: tokens, credentials, groups, and the RADIUS check at each login.

Read `credentials.py` first.
"""
