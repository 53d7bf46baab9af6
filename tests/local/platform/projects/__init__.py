"""The promises of the Postgres API of the local platform."""
