"""The promises of server/traffic, seen from outside the real process."""
