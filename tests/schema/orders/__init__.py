"""The promises of schema/orders."""
