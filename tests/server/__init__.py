"""The promises of the server package."""
