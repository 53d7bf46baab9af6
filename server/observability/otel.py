"""Owns what is asked of OpenTelemetry: the only file that imports it, and imported only where traces are wanted."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.instrumentation.asyncpg import AsyncPGInstrumentor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import get_current_span
from starlette.middleware import Middleware

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from opentelemetry.sdk.trace.export import SpanExporter

_SERVICE: Final = "lakebase-orders-graphql"
_PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
# A caller's variables stand in the query of a GET; of the URL the path is enough.
_URLS: Final = ("http.url", "http.target", "url.full")


class Spans:
    """Spans of requests, operations and statements, sent to where the environment says.

    Raises:
        ImportError: the exporter of the protocol that is asked for is not installed.
    """

    def __init__(self) -> None:
        # What OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say comes before ours.
        ours = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": _SERVICE}
        given = Resource.create()
        named = "service.name=" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
        exporter = _exporter()
        self._provider = TracerProvider(
            resource=given if named else given.merge(Resource(ours)),
            # Its own waits for a receiver that does not answer, for longer than a stop may take.
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer(_SERVICE)
        self._statements: Any = AsyncPGInstrumentor(capture_parameters=False)  # type: ignore[no-untyped-call] # OpenTelemetry leaves it untyped
        self._statements.instrument(tracer_provider=self._provider)

    def middleware(self, excluded: Sequence[str]) -> Middleware:
        """What makes a span of each request, and takes part in a trace of the caller's."""
        return Middleware(
            OpenTelemetryMiddleware,
            excluded_urls=",".join(excluded),
            exclude_spans=["receive", "send"],
            server_request_hook=_without_query,
            tracer_provider=self._provider,
        )

    def operation(self) -> AbstractContextManager[Any]:
        """A span, as the current one."""
        return self._tracer.start_as_current_span("operation")

    @staticmethod
    def note(attributes: dict[str, str]) -> None:
        """Put attributes on the current span."""
        get_current_span().set_attributes(attributes)

    def close(self) -> None:
        """Send what is still to be sent. It may wait long for a receiver that does not answer."""
        self._statements.uninstrument()
        self._provider.shutdown()


def _exporter() -> SpanExporter:
    # One of them, because each brings its own: gRPC, or requests.
    protocol = next((os.environ[name] for name in _PROTOCOLS if os.environ.get(name)), "grpc")
    if protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc import trace_exporter as grpc  # noqa: PLC0415 # as above

        return grpc.OTLPSpanExporter()
    from opentelemetry.exporter.otlp.proto.http import trace_exporter as http  # noqa: PLC0415 # as above

    return http.OTLPSpanExporter()


def _without_query(span: Any, scope: dict[str, Any]) -> None:
    if scope.get("query_string") and span.is_recording():
        span.set_attributes(dict.fromkeys(_URLS & span.attributes.keys(), scope["path"]))
        span.set_attribute("url.query", "")
