"""The promises of schema/relay."""
