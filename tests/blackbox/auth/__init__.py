"""The promises of server/auth, seen from outside the real process."""
