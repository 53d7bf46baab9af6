"""How fast the server is, compared with other servers and with the floor: `make bench`. pytest collects none of it."""
