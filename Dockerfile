# GraphiQL's files, fetched by package name and checked against the hashes in server/static/vendor.json.
FROM node:22-slim AS graphiql
RUN apt-get update && apt-get install -y --no-install-recommends python3 && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY server/__init__.py server/vendor.py server/
COPY server/static server/static
RUN python3 -m server.vendor

FROM python:3.11-slim AS packages
COPY requirements.txt .
RUN python -m venv /venv && /venv/bin/pip install --no-cache-dir -r requirements.txt

FROM python:3.11-slim
RUN useradd --system --no-create-home app
WORKDIR /app
COPY --from=packages /venv /venv
COPY schema schema
COPY server server
COPY --from=graphiql /build/server/static/vendor server/static/vendor
RUN rm -r server/local
USER app
# Loopback, because AUTH_MODE=local asks nobody who they are and refuses any other: run it with --network host.
ENV HOST=127.0.0.1 PORT=8000 PYTHONUNBUFFERED=1
EXPOSE 8000
HEALTHCHECK CMD ["/venv/bin/python", "-c", "import os, urllib.request as u; u.urlopen(f'http://127.0.0.1:{os.environ[\"PORT\"]}/livez')"]
# In exec form, so that SIGTERM reaches the server.
CMD ["/venv/bin/python", "-m", "server"]
