"""The promises of server/graphql, in the process."""
