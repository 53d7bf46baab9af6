"""The promises of schema/limits."""
