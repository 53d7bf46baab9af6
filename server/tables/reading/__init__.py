"""Runs statements that read tables: on a replica or the primary, a second time if necessary, and notes how it went.

Read `reader.py` first.
"""
