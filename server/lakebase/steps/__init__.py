"""The steps of operations. Each looks at what exists, acts if needed, and looks again. Read `step.py` first."""
