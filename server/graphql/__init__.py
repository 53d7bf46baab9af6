"""GraphQL over HTTP, server-sent events and WebSockets: a request comes in, a JSON answer goes out.

Read `gateway.py` first: every transport goes through it. Then `endpoint.py`.
"""
