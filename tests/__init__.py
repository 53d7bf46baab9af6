"""The tests. Each docstring of a test is a promise of the product."""
