"""Faults injected under load. Nine counters count what was lost, leaked, left hanging or wrongly disclosed."""
