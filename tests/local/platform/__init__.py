"""The promises of the local platform."""
