"""The local platform with test tooling: faults that tests switch on, and controls below /local/.

`python -m tests.platform_tools` runs it, with the same options and output as `python -m server.local.platform`.
`controls.py` lists the paths; `tests/servers/platform.py` starts it and calls them.
"""
