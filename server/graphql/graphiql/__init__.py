"""The GraphiQL page, and its third-party files, which npm installs. Read `page.py` first."""
