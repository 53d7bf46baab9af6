"""The promises of server/orders, in the process."""
