"""What a laptop has in the cloud's place: an embedded PostgreSQL and TPC-H data. The server never imports it."""
