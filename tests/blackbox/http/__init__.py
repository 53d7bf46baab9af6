"""The promises of server/http, seen from outside the real process."""
