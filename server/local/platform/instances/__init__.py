"""The Database Instance API, which shows each project as an instance: its default branch, and that one's primary.

Read `instances.py` first.
"""
