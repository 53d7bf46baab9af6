"""The promises of the schema package."""
