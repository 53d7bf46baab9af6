"""Servers that others would write, or have written, for the same orders."""
