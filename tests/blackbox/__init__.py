"""Black-box tests: they see the real server process from outside only."""
