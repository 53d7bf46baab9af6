"""Calls of the Databricks API, in a thread and within a deadline. Read `api.py` first."""
