"""Owns the question who is calling, in each of the modes that there are."""
