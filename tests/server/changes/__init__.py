"""The promises of server/changes, in the process."""
