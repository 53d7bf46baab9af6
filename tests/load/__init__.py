"""What the server does under more than it can do, and beside callers who are slow: `python -m tests.load`."""
