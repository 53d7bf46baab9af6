"""Tests of plans: what would be done, what is refused, and what the operator reads."""
