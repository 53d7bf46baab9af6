"""The promises of the identities of the local platform."""
