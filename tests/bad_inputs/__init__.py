"""Malformed and malicious inputs, sent to the real process, each with the exact response that it has to get."""
