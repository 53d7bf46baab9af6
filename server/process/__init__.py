"""The operating-system process: sockets, workers, signals and the end. Read `supervisor.py` first."""
