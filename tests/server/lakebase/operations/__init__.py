"""The promises of server/lakebase/operations, in the process."""
