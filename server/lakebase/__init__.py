"""The Databricks platform behind the administration port: nothing else in the server knows of it."""
