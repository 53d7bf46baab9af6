"""The process: the application that it serves, what lives as long as it does, and how it starts and stops.

Read `app.py` first, then `lifespan.py`; `supervisor.py` and `shutdown.py` deal with the operating system.
"""
