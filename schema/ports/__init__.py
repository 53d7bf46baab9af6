"""What the schema may ask of the server: Protocols, and the values they take and give. Read `orders.py` first."""
