"""The bytes of a connection: HTTP and WebSocket framing, deadlines and sizes, before any application code runs.

Read `http_protocol.py` first.
"""
