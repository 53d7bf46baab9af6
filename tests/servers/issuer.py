"""An issuer of tokens for tests: real keys, signed tokens, and a JWKS over HTTP on loopback."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from tests.servers.process import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator

ISSUER, AUDIENCE = "https://issuer.example", "orders"
_Private = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


class Issuer:
    """An issuer with two keys, `rsa` and `ec`, and a URL that publishes them, unless a test makes it fail."""

    def __init__(self) -> None:
        self.keys: dict[str, _Private] = {
            "rsa": rsa.generate_private_key(65537, 2048),
            "ec": ec.generate_private_key(ec.SECP256R1()),
        }
        self.published = {"rsa", "ec"}
        self.fails = False
        self.asked = 0
        self.url = ""
        # While it is not set, responses wait for it.
        self.answering = threading.Event()
        self.answering.set()

    def settings(self, **others: str) -> dict[str, Any]:
        """The settings of a server that trusts this issuer."""
        return {
            "AUTH_MODE": "jwt",
            "JWT_ISSUER": ISSUER,
            "JWT_AUDIENCE": AUDIENCE,
            "JWT_JWKS_URL": self.url,
            **others,
        }

    def rotate(self, key_id: str) -> None:
        """Publish a new key instead of the others."""
        self.keys[key_id] = ec.generate_private_key(ec.SECP256R1())
        self.published = {key_id}

    def token(self, key_id: str = "rsa", *, header: dict[str, Any] | None = None, **claims: Any) -> str:
        """A token signed with a key. Claims are added to the valid ones; those that are None are removed."""
        key = self.keys[key_id]
        algorithm = "RS256" if isinstance(key, rsa.RSAPrivateKey) else "ES256"
        return jwt.encode(good_claims(**claims), key, algorithm, {"kid": key_id, **(header or {})})

    def public_pem(self, key_id: str) -> bytes:
        """A public key in PEM format."""
        return (
            self.keys[key_id]
            .public_key()
            .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        )

    def jwks(self) -> bytes:
        """The published JWKS."""
        keys = []
        for key_id in sorted(self.published):
            key = self.keys[key_id]
            kind: Any = RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else ECAlgorithm
            keys.append({**kind.to_jwk(key.public_key(), as_dict=True), "kid": key_id, "use": "sig"})
        return json.dumps({"keys": keys}).encode()


def good_claims(**others: Any) -> dict[str, Any]:
    """The claims of a token valid for a day, longer than any run. Others are added; those that are None are removed."""
    now = int(time.time())
    claims: dict[str, Any] = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "ann",
        "iat": now,
        "exp": now + 86_400,
        "roles": ["writer"],
        **others,
    }
    return {name: value for name, value in claims.items() if value is not None}


@contextlib.contextmanager
def running_issuer() -> Iterator[Issuer]:
    """Run an issuer inside the block."""
    issuer = Issuer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            issuer.asked += 1
            issuer.answering.wait(PATIENCE_SECONDS)
            body = issuer.jwks()
            self.send_response(500 if issuer.fails else 200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            # A client that has waited too long has disconnected.
            with contextlib.suppress(OSError):
                self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with serving(Handler) as url:
        issuer.url = f"{url}/jwks.json"
        yield issuer
        issuer.answering.set()


@contextlib.contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """Serve HTTP on loopback with this handler inside the block, and give the URL."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
