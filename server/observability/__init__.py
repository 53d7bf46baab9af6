"""Logs, metrics and traces: what is noted while a request is served, and where it is published.

Read `request_record.py` first.
"""
