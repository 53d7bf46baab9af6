"""The promises of server/graphql, seen from outside the real process."""
