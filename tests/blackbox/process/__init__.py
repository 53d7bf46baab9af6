"""The promises of server/process, seen from outside the real process."""
