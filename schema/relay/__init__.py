"""Relay: global ids, connections, cursors and the selected fields of a page. Read `pagination.py` first."""
