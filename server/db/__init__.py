"""Everything that knows PostgreSQL: connections, the orders table, its SQL, and what its errors mean."""
