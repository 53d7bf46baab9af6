"""What the admin fields return: instances, branches, catalogs, synced tables, and what the server serves."""
