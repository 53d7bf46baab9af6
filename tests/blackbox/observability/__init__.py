"""The promises of server/observability, seen from outside the real process."""
