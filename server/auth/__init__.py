"""Authentication: each of three modes turns a request into a principal with its roles.

Read `authentication.py` first.
"""
