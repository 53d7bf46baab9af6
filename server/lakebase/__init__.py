"""Administration of a Lakebase.

An input becomes an operation, whose steps run in the background until the platform is as wanted. Read
`administration.py` first.
"""
