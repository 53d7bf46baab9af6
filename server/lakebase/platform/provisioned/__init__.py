"""Administration by the Database Instance API (`w.database`), the older one. Read `platform.py` first."""
