"""Steps of operations: each looks, acts if needed, and looks again. Read `step.py` first."""
