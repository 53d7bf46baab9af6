"""Administration of a Lakebase.

A mutation's input becomes an operation. Its steps run in the background until the resources are as wanted. Read
`administration.py` first, and README.md here for operating it.
"""
