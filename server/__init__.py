"""The server that runs the schema: HTTP, settings and SQL. It imports `schema`, which never imports it."""
