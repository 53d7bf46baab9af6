"""Status changes: written in a transaction, kept as history, published as a feed.

Read `status_writer.py` first, then `feed.py`.
"""
