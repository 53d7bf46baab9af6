"""The promises of server/changes, seen from outside the real process."""
