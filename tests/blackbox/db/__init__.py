"""The promises of server/db, seen from outside the real process."""
