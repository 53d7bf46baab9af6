"""The HTTP side of the platform: requests come in, checked bodies and JSON errors go out. Read `exchange.py` first."""
