"""The promises of server/observability, in the process."""
