"""Random queries, and the tables that they read, for tests that compare two ways of answering."""
