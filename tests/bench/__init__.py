"""What the server does in a second, beside what could be done at all: `make bench`. pytest collects none of it."""
