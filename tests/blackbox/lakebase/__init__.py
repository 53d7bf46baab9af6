"""The promises of server/lakebase, seen from outside the real process."""
