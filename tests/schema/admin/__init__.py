"""The promises of schema/admin."""
