"""The promises of what a laptop has in the cloud's place."""
