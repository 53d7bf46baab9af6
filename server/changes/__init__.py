"""Status changes: written by one statement, kept as history, published as a feed.

Read `status_writer.py` first, then `feed.py`.
"""
