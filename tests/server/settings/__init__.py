"""The promises of server/settings, in the process."""
