"""The promises of server/http, in the process."""
