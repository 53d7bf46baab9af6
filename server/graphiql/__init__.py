"""The GraphiQL page and its third-party files. Read `page.py` first."""
