"""Spans by OpenTelemetry. Only this file imports it, and only `tracing.py` imports this file, if traces are wanted."""

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
# The query of a GET contains the client's variables, so a span gets only the path of the URL.
_URLS: Final = ("http.url", "http.target", "url.full")


class Spans:
    """Spans of requests, operations and statements, sent where the environment says.

    Raises:
        ImportError: the exporter for the configured protocol is not installed.
    """

    def __init__(self) -> None:
        # OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES take precedence over our name.
        ours = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": _SERVICE}
        given = Resource.create()
        named = "service.name=" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
        exporter = _exporter()
        self._provider = TracerProvider(
            resource=given if named else given.merge(Resource(ours)),
            # OpenTelemetry's exit handler waits longer for a receiver that does not answer than a stop may take.
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer(_SERVICE)
        self._statements: Any = AsyncPGInstrumentor(capture_parameters=False)  # type: ignore[no-untyped-call] # OpenTelemetry leaves it untyped
        self._statements.instrument(tracer_provider=self._provider)

    def middleware(self, excluded: Sequence[str]) -> Middleware:
        """The middleware that makes a span of each request, as a part of the client's trace if it has one."""
        return Middleware(
            OpenTelemetryMiddleware,
            excluded_urls=",".join(excluded),
            exclude_spans=["receive", "send"],
            server_request_hook=_without_query,
            tracer_provider=self._provider,
        )

    def operation(self) -> AbstractContextManager[Any]:
        """A new span, made the current one."""
        return self._tracer.start_as_current_span("operation")

    @staticmethod
    def note(attributes: dict[str, str]) -> None:
        """Set attributes on the current span."""
        get_current_span().set_attributes(attributes)

    def close(self) -> None:
        """Send the spans that were not sent yet. This may take long if the receiver does not answer."""
        self._statements.uninstrument()
        self._provider.shutdown()


def _exporter() -> SpanExporter:
    # Only the one that is needed: each brings libraries of its own, gRPC or requests.
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
