"""What a document may contain and what it costs, decided before anything of it runs. Read `document.py` first."""
