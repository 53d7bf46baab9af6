# Each base image is the index of its platforms, by digest. `docker buildx imagetools inspect IMAGE:TAG` shows a tag's.
FROM node:22.16.0-bookworm-slim@sha256:048ed02c5fd52e86fda6fbd2f6a76cf0d4492fd6c6fee9e2c463ed5108da0e34 AS node

# GraphiQL's files, installed by npm, which checks them against the hashes in server/graphql/graphiql/package-lock.json.
FROM python:3.11.14-slim-bookworm@sha256:65a93d69fa75478d554f4ad27c85c1e69fa184956261b4301ebaf6dbb0a3543d AS graphiql
COPY --from=node /usr/local/bin/node /usr/local/bin/node
COPY --from=node /usr/local/lib/node_modules/npm /usr/local/lib/node_modules/npm
WORKDIR /build
COPY server/__init__.py server/
COPY server/graphql/__init__.py server/graphql/
COPY server/graphql/graphiql server/graphql/graphiql
RUN ln -s ../lib/node_modules/npm/bin/npm-cli.js /usr/local/bin/npm && python -m server.graphql.graphiql.vendor

FROM python:3.11.14-slim-bookworm@sha256:65a93d69fa75478d554f4ad27c85c1e69fa184956261b4301ebaf6dbb0a3543d AS packages
WORKDIR /build
ENV PIP_NO_CACHE_DIR=1
COPY requirements.txt ./
RUN python -m venv /venv && /venv/bin/pip install --disable-pip-version-check --require-hashes -r requirements.txt

FROM python:3.11.14-slim-bookworm@sha256:65a93d69fa75478d554f4ad27c85c1e69fa184956261b4301ebaf6dbb0a3543d
WORKDIR /app
COPY --from=packages /venv /venv
# server/local is left out by .dockerignore.
COPY schema schema
COPY server server
COPY --from=graphiql /build/server/graphql/graphiql/static/vendor server/graphql/graphiql/static/vendor
# The server's user may not write here, so without this Python would compile every module at every start.
RUN python -m compileall -q schema server
# Without AUTH_MODE the server does not start: the operator has to decide first how callers are authenticated.
ENV APP_ENV=production HOST=0.0.0.0 PORT=8000 PYTHONUNBUFFERED=1
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s \
    CMD ["/venv/bin/python", "-c", "import os, urllib.request as u; u.urlopen(f'http://127.0.0.1:{os.environ[\"PORT\"]}/livez', timeout=2)"]
# In exec form, so that SIGTERM reaches the server.
CMD ["/venv/bin/python", "-m", "server"]
