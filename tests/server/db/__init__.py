"""The promises of server/db, in the process."""
