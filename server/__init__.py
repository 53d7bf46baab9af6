"""Everything that makes the schema run: HTTP, settings, SQL. Imports `schema`, which never imports it."""
