"""Plans of operations: what a request would change, and by which steps. Read `planner.py` first."""
