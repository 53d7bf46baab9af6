"""The promises of server/traffic, in the process."""
