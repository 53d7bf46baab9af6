"""What every route needs of HTTP: middleware, headers, content negotiation, caching, and error responses.

Read `request_middleware.py` first.
"""
