"""The state that outlives the process: projects, operations, catalogs, synced tables, pipelines and tokens.

Read `projects.py` first.
"""
