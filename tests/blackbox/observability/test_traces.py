"""Traces of the real process, as a collector receives them. Without an endpoint OpenTelemetry is not loaded."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import httpx
import pytest
import websockets
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.servers.forkserver import fork_server
from tests.servers.process import NO_TLS, PATIENCE_SECONDS, environment, free_port, running_server, wait_for
from tests.support.calibration import hold

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from opentelemetry.proto.trace.v1.trace_pb2 import Span


class Receiver:
    """An OTLP receiver on loopback, with what it received."""

    def __init__(self) -> None:
        self.requests: list[ExportTraceServiceRequest] = []
        received = self.requests

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                received.append(ExportTraceServiceRequest.FromString(body))
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Log nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def spans(self) -> list[Span]:
        """Every span so far."""
        return [
            span
            for request in self.requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def service(self) -> str:
        """The name of the service that sent them."""
        attributes = self.requests[0].resource_spans[0].resource.attributes
        return str(next(pair.value.string_value for pair in attributes if pair.key == "service.name"))


@contextlib.contextmanager
def receiving() -> Iterator[Receiver]:
    """A receiver that listens within the block."""
    receiver = Receiver()
    thread = threading.Thread(target=receiver.server.serve_forever)
    thread.start()
    try:
        yield receiver
    finally:
        receiver.server.shutdown()
        thread.join()
        receiver.server.server_close()


@pytest.fixture(scope="module")
async def received(orders_url: str) -> Receiver:
    """The spans of a server that answered a GET and two operations on a WebSocket, and then stopped."""
    document = 'query Traced { orders(first: 3, filter: {clerk: {eq: "value-canary"}}) { nodes { orderKey } } }'
    with receiving() as receiver:
        with running_server(
            orders_url, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url, OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf"
        ) as server:
            async with httpx.AsyncClient(verify=NO_TLS) as client:
                (await client.get(server.graphql, params={"query": document})).raise_for_status()
            url = server.graphql.replace("http", "ws", 1)
            async with websockets.connect(url, subprotocols=[websockets.Subprotocol("graphql-transport-ws")]) as socket:
                await socket.send('{"type": "connection_init"}')
                await socket.recv()
                for name in ("One", "Two"):
                    payload = {"query": f"query {name} {{ __typename }}"}
                    await socket.send(json.dumps({"id": name, "type": "subscribe", "payload": payload}))
                    while "complete" not in str(await socket.recv()):
                        pass
        return receiver


def test_a_request_and_its_statements_are_one_trace(received: Receiver) -> None:
    """The request's span has the operation's name and type, and its statements' spans are below it."""
    (request,) = [span for span in received.spans() if attribute(span, "graphql.operation.name") == "Traced"]
    assert attribute(request, "graphql.operation.type") == "query"
    below = [span for span in received.spans() if span.trace_id == request.trace_id and span.parent_span_id]
    assert any("orders_synced" in attribute(span, "db.statement") for span in below)


def test_each_operation_on_a_websocket_is_a_span(received: Receiver) -> None:
    """The span is below the connection's, and has the operation's name."""
    spans = [span for span in received.spans() if span.name == "operation"]
    assert sorted(attribute(span, "graphql.operation.name") for span in spans) == ["One", "Two"]
    assert all(span.parent_span_id for span in spans)


def test_a_collector_gets_no_values_of_clients(received: Receiver) -> None:
    """It gets no health checks either. It gets the name of the service."""
    assert received.service() == "lakebase-orders-graphql"
    spans = str(received.spans())
    for unsaid in ("canary", "livez", "readyz"):
        assert unsaid not in spans


def attribute(span: Span, name: str) -> str:
    """An attribute of a span; empty if there is none of that name."""
    found = (pair.value.string_value for pair in span.attributes if pair.key == name)
    return str(next(found, ""))


def stopped_without_a_receiver(orders_url: str, **altered: float) -> float:
    """How long a server takes to stop if its receiver does not answer, which it would try for ten minutes."""
    endpoint = f"http://127.0.0.1:{free_port()}"
    constants = {f"server.observability.tracing.{name}": seconds for name, seconds in altered.items()}
    with running_server(
        orders_url, OTEL_EXPORTER_OTLP_ENDPOINT=endpoint, OTEL_EXPORTER_OTLP_TIMEOUT="600", altered=constants
    ) as server:
        answer = httpx.post(server.graphql, json={"query": "{ __typename }"}, verify=NO_TLS)
        assert answer.json() == {"data": {"__typename": "Query"}}
        began = time.monotonic()
        server.process.terminate()
        assert server.process.wait(PATIENCE_SECONDS) == 0
        return time.monotonic() - began


def test_a_receiver_that_does_not_answer_holds_up_nothing(orders_url: str) -> None:
    """By gRPC, the default. Requests are answered, the stop takes a moment, and the exit code is 0."""
    stopped_without_a_receiver(orders_url, _FLUSH_SECONDS=0.1)


@pytest.mark.long
def test_a_stop_waits_two_seconds_for_a_receiver(orders_url: str) -> None:
    """It does not wait any longer."""
    hold("a stop without a receiver", stopped_without_a_receiver(orders_url), computing_seconds=8, waiting_seconds=2)


def test_opentelemetry_is_not_loaded_if_no_traces_are_wanted() -> None:
    """Without the variable no module of OpenTelemetry is imported."""
    env = environment(DATABASE_URL="postgresql://h/db")
    done = fork_server().run("tests.servers.untraced", env=env, seconds=PATIENCE_SECONDS)
    assert done.returncode == 0, done.stderr
    loaded = json.loads(done.stdout)
    assert "server.observability.tracing" in loaded
    assert [name for name, is_of_traces in loaded.items() if is_of_traces] == []


def test_a_missing_opentelemetry_is_reported_once(orders_url: str, tmp_path: Path) -> None:
    """The server serves all the same."""
    # As if the extra were not installed.
    (tmp_path / "opentelemetry.py").write_text("raise ImportError('No module named opentelemetry', name=__name__)\n")
    with running_server(
        orders_url, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9", PYTHONPATH=str(tmp_path)
    ) as server:
        wait_for(lambda: "not installed" in server.log(), what=server.log)
        assert server.log().count("OpenTelemetry is not installed") == 1
