"""Runs of the real server, of the local platform and of what they need, for tests."""
