"""The promises of server/lakebase/login, in the process."""
