"""The server as seen by third-party GraphQL clients, which run under Node."""
