"""Limits on what a document contains and costs, checked before any of it runs. Read `document.py` first."""
