"""Inputs that make no sense, or mean harm, each with the exact answer that it has to get, asked of the real process."""
