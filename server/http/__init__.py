"""The parts of HTTP that all routes share: middleware, headers, content negotiation, caching, and error responses.

Read `request_middleware.py` first, then `error_response.py`.
"""
