"""How much of what comes in is served: admission, rate limit, limits of subscriptions, and draining before a stop.

Read `admission.py` first.
"""
