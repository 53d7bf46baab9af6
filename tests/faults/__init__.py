"""Faults injected under load, each with the nine counters of what is lost, leaked, hung or said that should not be."""
