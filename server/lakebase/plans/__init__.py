"""Plans of operations: what would change, and the steps that change it. Read `planner.py` first."""
