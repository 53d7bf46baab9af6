"""Documents that are known by their hash: trusted ones from a manifest, and those that clients offered.

Read `persisted.py` first.
"""
