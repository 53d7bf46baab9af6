"""Authentication: a request comes in, a principal with its roles goes out, in each of three modes.

Read `authentication.py` first.
"""
