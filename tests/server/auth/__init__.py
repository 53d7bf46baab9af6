"""The promises of server/auth, in the process."""
