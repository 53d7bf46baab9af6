"""The promises of server/lakebase, in the process."""
