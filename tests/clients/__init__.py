"""The server as GraphQL clients see it that others wrote, run under Node."""
