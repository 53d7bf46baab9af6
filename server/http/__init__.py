"""What HTTP asks of every route: middleware, headers, content negotiation, caching, and the wording of errors.

Read `request_middleware.py` first.
"""
