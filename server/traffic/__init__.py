"""How many requests the server takes on: admission, the rate limit, limits of subscriptions, draining before a stop.

Read `admission.py` first. `rate_limit.py` charges callers.
"""
