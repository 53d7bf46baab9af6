"""HTTP of the local platform: requests read, bodies checked, errors worded; `exchange.py` first."""
