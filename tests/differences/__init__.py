"""Random queries and the tables they are asked of, for tests that hold two ways of answering against each other."""
