"""The lists of others of what goes wrong with GraphQL servers, each point as a test."""
