"""What error messages quote: a message of graphql-core or a limit goes in, and what its reader may see of it comes out.

`values.py` writes the client's values, and `names.py` hides the schema's names.
"""
