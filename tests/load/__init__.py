"""The server under more load than it can handle, and with slow clients: `python -m tests.load`."""
