"""How much the server takes on: admission, the rate limit, limits of subscriptions and memory, draining before a stop.

Read `admission.py` first. `rate_limit.py` charges callers, `events.py` executes what subscribers receive, and
`backoff.py` spares what keeps failing.
"""
