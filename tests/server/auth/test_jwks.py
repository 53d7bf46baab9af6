"""The issuer's keys: how they are fetched, how long they are used, and every fault of the server that publishes them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler
from socketserver import BaseRequestHandler, ThreadingTCPServer
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from schema.errors import Reason, UnavailableError
from server.auth import jwks as keys_module
from server.auth import refreshed_value
from server.auth.jwks import SigningKeys
from tests.servers.issuer import Issuer, running_issuer, serving
from tests.servers.process import PATIENCE_SECONDS, until
from tests.support.clock import Still

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.server.conftest import LogLines

HOUR = 3600


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Still:
    """The clock of the cached keys, which the test moves. Fetching them may take as long as it likes."""
    clock = Still()
    for module in (refreshed_value, keys_module):
        monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(keys_module, "_FETCH_SECONDS", PATIENCE_SECONDS)
    return clock


@pytest.fixture
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fetch may take a moment of real time."""
    monkeypatch.setattr(keys_module, "time", time)
    monkeypatch.setattr(keys_module, "_FETCH_SECONDS", 0.1)


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    """An issuer whose keys no test changes."""
    with running_issuer() as issuer:
        yield issuer


@contextlib.contextmanager
def talking(talk: Callable[[socket.socket], object]) -> Iterator[tuple[str, list[None]]]:
    """A server that reads a request, and then does what the test says: its URL, and a member for each request."""
    asked: list[None] = []

    class Handler(BaseRequestHandler):
        def handle(self) -> None:
            connection: socket.socket = self.request
            asked.append(None)
            with contextlib.suppress(OSError):
                connection.recv(65_536)
                talk(connection)

    class Server(ThreadingTCPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/jwks.json", asked
        finally:
            server.shutdown()
            thread.join()


async def unavailable(keys: SigningKeys, key_id: str = "rsa") -> UnavailableError:
    """The error of a token with this key's id."""
    with pytest.raises(UnavailableError) as refused:
        await keys.find(key_id)
    assert refused.value.reason is Reason.AUTHENTICATION_UNAVAILABLE
    return refused.value


async def fetched(keys: SigningKeys) -> None:
    """Return when no fetch is under way."""
    await until(lambda: not keys._cached.fetching)  # noqa: SLF001 # no caller waits for it


async def test_many_at_once_fetch_the_keys_once() -> None:
    """They are not fetched again before they expire."""
    with running_issuer() as issuer:
        keys = SigningKeys(issuer.url, ttl_seconds=HOUR)
        found = await asyncio.gather(*(keys.find("rsa") for _ in range(50)))
        assert all(found)
        assert await keys.find("ec")
        assert issuer.asked == 1


async def test_unknown_keys_are_fetched_at_most_once_in_a_while(clock: Still) -> None:
    """A rotated key is found at once; made-up key ids do not cause a request to the issuer each time."""
    clock.seconds = 1_000  # since the machine was started
    with running_issuer() as issuer:
        keys = SigningKeys(issuer.url, ttl_seconds=HOUR)
        assert await keys.find("rsa")
        issuer.rotate("new")
        assert all(await asyncio.gather(*(keys.find("new") for _ in range(20))))
        assert issuer.asked == 2
        assert await keys.find("rsa") is None
        assert not any([await keys.find(f"made up {number}") for number in range(50)])
        assert issuer.asked == 2
        clock.seconds += 30
        assert not any([await keys.find(f"made up {number}") for number in range(50)])
        assert issuer.asked == 3


async def test_an_unknown_key_is_not_refused_while_the_issuer_fails(clock: Still) -> None:
    """It may be a new one. Made-up key ids do not cause a request to the issuer each time then either."""
    clock.seconds = 1_000
    with running_issuer() as issuer:
        keys = SigningKeys(issuer.url, ttl_seconds=HOUR)
        assert await keys.find("rsa")
        issuer.fails = True
        for _ in range(20):
            assert (await unavailable(keys, "new")).retry_after_seconds == 1
            assert await keys.find("rsa")
        assert issuer.asked == 2
        clock.seconds += 1
        assert (await unavailable(keys, "new")).retry_after_seconds == 2
        assert issuer.asked == 3
        issuer.fails = False
        issuer.rotate("new")
        clock.seconds += 2
        assert await keys.find("new")


async def test_old_keys_are_used_at_once_while_new_ones_are_fetched(clock: Still) -> None:
    """Nobody waits for an issuer that is silent, and nobody asks it a second time meanwhile."""
    with running_issuer() as issuer:
        keys = SigningKeys(issuer.url, ttl_seconds=HOUR)
        assert await keys.find("rsa")
        issuer.rotate("new")
        issuer.answering.clear()
        clock.seconds += HOUR
        assert all([await keys.find("rsa") for _ in range(20)])
        await until(lambda: issuer.asked == 2)
        assert all([await keys.find("rsa") for _ in range(20)])
        # A key that is not known waits for the fetch that is under way.
        waiting = asyncio.gather(*(keys.find("new") for _ in range(20)))
        issuer.answering.set()
        assert all(await waiting)
        assert await keys.find("rsa") is None
        assert issuer.asked == 2


async def test_old_keys_count_while_the_issuer_fails(clock: Still) -> None:
    """For a day after they expire, and without a fetch in every request."""
    with running_issuer() as issuer:
        keys = SigningKeys(issuer.url, ttl_seconds=HOUR)
        assert await keys.find("rsa")
        clock.seconds += HOUR
        issuer.fails = True
        assert all([await keys.find("rsa") for _ in range(20)])
        await fetched(keys)
        assert all([await keys.find("rsa") for _ in range(20)])
        assert issuer.asked == 2
        clock.seconds += 24 * HOUR - 1
        assert await keys.find("rsa")
        await fetched(keys)
        clock.seconds += 1
        await unavailable(keys)
        issuer.fails = False
        issuer.rotate("new")
        clock.seconds += 10
        assert await keys.find("new")


OK = b"HTTP/1.1 200 OK\r\n"


def body(content: bytes, head: bytes = OK) -> bytes:
    """A response with this content."""
    return head + b"content-length: %d\r\n\r\n" % len(content) + content


def keys_of(*keys: object) -> bytes:
    """A response with a set of keys."""
    return body(json.dumps({"keys": keys}).encode())


RSA = {"kty": "RSA", "kid": "rsa"}
FAULTS = {
    "nothing": b"",
    "another protocol": b"SSH-2.0-OpenSSH_9.6\r\n",
    "zeros": bytes(1000),
    "TLS": bytes.fromhex("15030300020228"),
    "HTTP/0.9": b'{"keys": []}',
    "a line without an end": b"HTTP/1.1 200 OK" + b"x" * 100_000,
    "half of a status": b"HTTP/1.1 20",
    "no status": b"HTTP/1.1 OK\r\n\r\n",
    "a status of many digits": b"HTTP/1.1 %s X\r\n\r\n" % (b"9" * 5000),
    "a long header": OK + b"a: " + b"x" * 100_000 + b"\r\n\r\n",
    "a thousand headers": OK + b"a: b\r\n" * 1000 + b"\r\n",
    "headers without an end": OK + b"a: b\r\n",
    "no body": OK + b"\r\n",
    "a body that is cut": OK + b'content-length: 100\r\n\r\n{"keys": [',
    "a negative length": OK + b"content-length: -1\r\n\r\n",
    "a length that is no number": OK + b"content-length: many\r\n\r\n{",
    "chunks of no length": OK + b"transfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n",
    "chunks that are cut": OK + b"transfer-encoding: chunked\r\n\r\n10\r\n{}",
    "chunks without an end": OK + b'transfer-encoding: chunked\r\n\r\n2\r\n{"\r\n',
    "204": b"HTTP/1.1 204 No Content\r\n\r\n",
    "301 to itself": b"HTTP/1.1 301 Moved\r\nlocation: /jwks.json\r\ncontent-length: 0\r\n\r\n",
    "302 to a file": b"HTTP/1.1 302 Found\r\nlocation: file:///etc/passwd\r\ncontent-length: 0\r\n\r\n",
    "307 to nowhere": b"HTTP/1.1 307 X\r\nlocation: http://[\r\ncontent-length: 0\r\n\r\n",
    "401": body(b"{}", b"HTTP/1.1 401 Unauthorized\r\nwww-authenticate: Basic\r\n"),
    "404": body(b"{}", b"HTTP/1.1 404 Not Found\r\n"),
    "500": body(b"{}", b"HTTP/1.1 500 X\r\n"),
    "HTML": body(b"<html>"),
    "not UTF-8": body(b"\xff\xfe\xfa"),
    "gzip": body(bytes.fromhex("1f8b080000000000")),
    "an empty body": body(b""),
    **{f"JSON: {text.decode()}": body(text) for text in (b"5", b"null", b'"keys"', b"[]", b"{}", b"NaN", b'["keys"]')},
    **{
        f"keys: {text.decode()}": body(b'{"keys": %s}' % text)
        for text in (b"[]", b"null", b"1", b'"a"', b'{"a": 1}', b"[1]", b"[null]", b"[[]]", b"[{}]")
    },
    "a number of many digits": body(b'{"keys": %s}' % (b"9" * 10_000)),
    "nested too deeply": body(b"[" * 100_000),
    "too long": body(b" " * (1 << 20)),
    "too many keys": keys_of(*[RSA] * 1000),
    "keys that only encrypt": keys_of({**RSA, "n": "3q2-7w", "e": "AQAB", "use": "enc"}),
    "a key without values": keys_of(RSA),
    "a key of numbers": keys_of({**RSA, "n": 5, "e": 3}),
    "a key of lists": keys_of({"kty": ["RSA"], "kid": ["rsa"], "alg": ["RS256"], "use": []}),
    "a key of zeros": keys_of({**RSA, "n": "AA", "e": "AA"}),
    "a secret": keys_of({"kty": "oct", "kid": "rsa", "k": "c2VjcmV0"}),
    "a private key": keys_of(
        {**ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1()), as_dict=True), "kid": "rsa"}
    ),
    "a curve that is not one": keys_of({"kty": "EC", "kid": "rsa", "crv": "P-257", "x": "AA", "y": "AA"}),
    "a point beside the curve": keys_of({"kty": "EC", "kid": "rsa", "crv": "P-256", "x": "AA", "y": "AA"}),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_whatever_the_issuer_sends_is_a_retryable_error(log_lines: LogLines, fault: str) -> None:
    """The error says nothing about the token. No traceback is logged, and the next request does not ask at once."""
    with talking(lambda connection: connection.sendall(FAULTS[fault])) as (url, asked):
        keys = SigningKeys(url, ttl_seconds=HOUR)
        for _ in range(3):
            assert (await unavailable(keys)).retry_after_seconds == 1
        assert len(asked) == 1
    (line,) = log_lines()
    assert (line["event"], line["what"]) == ("not fetched", "keys")
    assert not line.get("exc_info")


async def test_an_issuer_that_does_not_speak_tls_is_a_retryable_error(issuer: Issuer) -> None:
    """Nor one that nobody runs, nor one whose name nobody knows."""
    for url in (issuer.url.replace("http", "https"), "http://127.0.0.1:9/", "https://issuer.invalid./jwks.json"):
        await unavailable(SigningKeys(url, ttl_seconds=HOUR))


async def test_a_key_that_cannot_be_read_does_not_hide_the_others(issuer: Issuer) -> None:
    """Issuers publish keys of kinds that come later."""
    good = json.loads(issuer.jwks())["keys"]
    wrong: list[object] = [5, None, {}, {**RSA, "n": 5}, {"kty": "LMS", "kid": "x"}, {"kty": "OKP", "use": []}]
    with talking(lambda connection: connection.sendall(keys_of(*wrong, *good))) as (url, _):
        keys = SigningKeys(url, ttl_seconds=HOUR)
        assert await keys.find("rsa")
        assert await keys.find("ec")


DRIPS = {
    "a status": b"HTTP/1.1 200 " + b"O" * 1000,
    "a header": OK + b"a: " + b"x" * 1000,
    "headers": OK + b"a: b\r\n" * 90,
    "interim responses": b"HTTP/1.1 100 Continue\r\n\r\n" * 100,
    "a body": OK + b"content-length: 1000\r\n\r\n" + b" " * 1000,
    "a body without a length": OK + b"\r\n" + b" " * 1000,
    "a chunk": OK + b"transfer-encoding: chunked\r\n\r\n400\r\n" + b" " * 1000,
    "chunks": OK + b"transfer-encoding: chunked\r\n\r\n" + b"1\r\n \r\n" * 200,
    "a chunk's size": OK + b"transfer-encoding: chunked\r\n\r\n" + b"0" * 1000,
    "trailers": OK + b"transfer-encoding: chunked\r\n\r\n0\r\n" + b"a: b\r\n" * 200,
}


@pytest.mark.usefixtures("hurry")
@pytest.mark.parametrize("drip", DRIPS)
async def test_an_issuer_that_drips_is_left_after_the_deadline(drip: str) -> None:
    """The deadline is for all bytes together. The connection is closed, and the thread is free again."""
    left = threading.Event()

    def talk(connection: socket.socket) -> None:
        for byte in DRIPS[drip]:
            try:
                connection.sendall(bytes([byte]))
            except OSError:
                left.set()
                return
            time.sleep(0.01)  # a drip: each byte comes well within the time that a single one may take

    with talking(talk) as (url, _):
        keys = SigningKeys(url, ttl_seconds=HOUR)
        await unavailable(keys)
        await until(left.is_set)
        free = asyncio.wrap_future(keys._thread.submit(threading.get_ident))  # noqa: SLF001 # the thread is what this is about
        assert await free


@pytest.mark.usefixtures("hurry")
async def test_an_issuer_that_does_not_let_anyone_connect_is_left_after_the_deadline() -> None:
    """Neither by TCP nor by TLS."""
    with socket.socket() as full, contextlib.ExitStack() as waiting:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(4):
            client = waiting.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(full.getsockname())
        await unavailable(SigningKeys(f"http://127.0.0.1:{full.getsockname()[1]}/", ttl_seconds=HOUR))
    left = threading.Event()
    with talking(lambda _: left.wait(PATIENCE_SECONDS)) as (url, _):
        await unavailable(SigningKeys(url.replace("http", "https"), ttl_seconds=HOUR))
        left.set()


@pytest.mark.usefixtures("hurry")
async def test_a_silent_issuer_holds_one_thread(clock: Still, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often it is asked; and none of those that files and name servers wait for."""
    held: list[str] = []
    fetch, released = keys_module._fetch, threading.Event()  # noqa: SLF001 # a name server that is silent cannot be interrupted

    def hanging(url: str) -> Any:
        held.append(threading.current_thread().name)
        released.wait(PATIENCE_SECONDS)
        return fetch(url)

    monkeypatch.setattr(keys_module, "_fetch", hanging)
    with running_issuer() as issuer:
        keys = SigningKeys(issuer.url, ttl_seconds=HOUR)
        for _ in range(4):
            await unavailable(keys)
            clock.seconds += 10
        assert [name.startswith("keys") for name in held] == [True]
        monkeypatch.setattr(keys_module, "_FETCH_SECONDS", PATIENCE_SECONDS)
        released.set()
        assert await keys.find("rsa")


async def test_a_redirect_of_the_issuer_is_not_followed(issuer: Issuer) -> None:
    """It could lead from https to http."""

    class Redirect(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(302)
            self.send_header("location", issuer.url)
            self.end_headers()

    before = issuer.asked
    with serving(Redirect) as url:
        await unavailable(SigningKeys(url, ttl_seconds=HOUR))
    assert issuer.asked == before
