"""Status changes: how they are written, kept as history and published as a feed. Read `status_writer.py` first."""
