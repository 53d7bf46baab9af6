"""How a query made of orders alone is answered without a resolver call a value: planned once, then written as JSON."""
