"""The promises of server/graphql/graphiql, in the process."""
