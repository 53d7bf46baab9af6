"""The inputs of the admin mutations, the rules for names in them, and their validation. Read `validation.py` first."""
