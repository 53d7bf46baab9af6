"""The promises of server/graphiql, in the process."""
