"""How the type of a table is declared, and what follows from a declaration."""
