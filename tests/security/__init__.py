"""Published lists of the security risks of GraphQL servers, with each item as a test."""
