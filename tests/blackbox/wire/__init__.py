"""The promises of server/wire, seen from outside the real process."""
