"""The promises of server/lakebase/database, in the process."""
