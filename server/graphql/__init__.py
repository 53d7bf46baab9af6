"""GraphQL over HTTP, server-sent events and WebSockets: a request comes in, a JSON answer goes out.

Read `endpoint.py` first.
"""
