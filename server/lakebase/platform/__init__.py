"""Calls to the Databricks API through its SDK, each in a thread and within a deadline. Read `api.py` first."""
