"""What the schema needs from the server: Protocols, and the values they take and return. Read `orders.py` first."""
