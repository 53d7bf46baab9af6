"""Logs, metrics and traces. Observations come in; log lines, metrics and spans go out.

Read `observations.py` first, then `sinks.py`.
"""
