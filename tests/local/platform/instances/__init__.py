"""The promises of the instances of the local platform."""
