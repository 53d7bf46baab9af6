"""The peers: servers that other people would write, or have written, for the same orders."""
