"""The promises of the GraphiQL page, of its third-party files, and of fetching them."""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import io
import json
import re
import shutil
import tarfile
from html.parser import HTMLParser
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import httpx
import pytest
from starlette.requests import Request

from server.graphql.graphiql import vendor
from server.graphql.graphiql.files import Files
from server.graphql.graphiql.page import GraphiQL
from server.http.compression import Compression
from tests.clients import node
from tests.servers.process import NO_TLS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    from starlette.responses import Response

    from server.graphql.gateway import Gateway
    from tests.servers.process import Server

    FakeNpm = Callable[[str], None]

_BROWSER = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
_OURS = sorted(path for path in vendor.STATIC.iterdir() if path.suffix in {".html", ".js", ".css"})
# A URL with a scheme, or one that a page would complete with its own scheme.
_ADDRESS = re.compile(r"\w+://|[\"'(=]\s*//")


def _loaded(server: Server) -> list[str]:
    """The addresses of the files that the page loads."""
    text = httpx.get(server.graphql, headers=_BROWSER, verify=NO_TLS).raise_for_status().text
    return re.findall(r'"(/static/[^"]+)"', text)


class _Tags(HTMLParser):
    """The tags of a page with their attributes, and the text within each script."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] == "script":
            self.scripts += data.strip()


@pytest.fixture(scope="module")
def fetched() -> None:
    """GraphiQL's files are in place."""
    node.tool("npm")
    assert vendor.main([]) == 0


@pytest.fixture
def static(tmp_path: Path) -> Path:
    """A copy of our own static files beside the lock file, without the third-party files."""
    home = tmp_path / "graphiql"
    shutil.copytree(vendor.STATIC.parent, home, ignore=shutil.ignore_patterns("vendor", "node_modules", ".vendor*"))
    return home / "static"


@pytest.fixture
def fake_npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeNpm:
    """An npm that installs every package in this version, with files that hold the version."""
    programs, installed = tmp_path / "bin", tmp_path / "node_modules"
    programs.mkdir()
    npm = programs / "npm"
    npm.write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/calls\n{shutil.which("cp")} -r {installed} .\n')
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", str(programs))

    def installs(version: str) -> None:
        for package in vendor.FILES:
            _make(installed / package, package, version)

    installs("1.0.0")
    return installs


def _make(folder: Path, package: str, version: str) -> None:
    """A package as npm unpacks it, with the files that are copied."""
    for file in vendor.FILES[package].values():
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(version)
    (folder / "package.json").write_text(json.dumps({"name": package, "version": version}))


def _lock(static: Path, packages: dict[str, Any]) -> None:
    """Choose these packages: a lock file's entries by the packages' names."""
    versions = {package: entry.get("resolved", entry["version"]) for package, entry in packages.items()}
    entries = {f"node_modules/{package}": entry for package, entry in packages.items()}
    lock = {"lockfileVersion": 3, "packages": {"": {"dependencies": versions}, **entries}}
    (static.parent / "package.json").write_text(json.dumps({"dependencies": versions}))
    (static.parent / "package-lock.json").write_text(json.dumps(lock))


def _tarball(folder: Path) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        archive.add(folder, "package")
    return buffer.getvalue()


def _integrity(algorithm: str, content: bytes) -> str:
    return f"{algorithm}-{base64.b64encode(hashlib.new(algorithm, content).digest()).decode()}"


class _Everybody:
    """A gateway that lets everybody explore."""

    explored_by = "on"

    async def authenticate(self, _request: Request, *, any_origin: bool) -> SimpleNamespace:
        return SimpleNamespace(explores=any_origin)


async def page(static: Path, tables: Collection[str] = ()) -> Response:
    """The page that a server with these static files and tables gives a browser."""
    gateway = cast("Gateway", _Everybody())
    return await GraphiQL(gateway, Compression("off"), tables, static).page(Request({"type": "http", "headers": []}))


def _below(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in (folder / "vendor").glob("[!.]*")}


def _copied(version: str) -> dict[str, str]:
    """The files of every package in this version, which the fake npm writes into them."""
    names = {
        f"{package.rpartition('/')[2]}-{version}{suffix}" for package, files in vendor.FILES.items() for suffix in files
    }
    return dict.fromkeys(names, version)


@pytest.mark.usefixtures("fetched")
def test_a_browser_gets_the_page_and_may_run_only_our_scripts(server: Server) -> None:
    """The page's headers forbid every other origin, inline scripts and styles, frames, guessing and referrers."""
    answer = httpx.get(server.graphql, headers=_BROWSER)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
    assert (policy["default-src"], policy["script-src"], policy["connect-src"]) == ("'none'", "'self'", "'self'")
    assert (policy["base-uri"], policy["form-action"], policy["frame-ancestors"]) == ("'none'",) * 3
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["vary"] == "accept"


@pytest.mark.usefixtures("fetched")
@pytest.mark.parametrize(("tables", "named"), [((), ""), (("parts", "nations"), "nations parts")])
async def test_the_page_knows_which_tables_are_served(tables: tuple[str, ...], named: str) -> None:
    """Its script shows the examples of these alone: the others would not match the schema."""
    text = bytes((await page(vendor.STATIC, tables)).body).decode()
    assert f'<body data-tables="{named}">' in text


@pytest.mark.usefixtures("fetched")
def test_every_third_party_file_is_held_to_its_hash(server: Server) -> None:
    """Each script and style from the vendor folder has an integrity attribute: the hash of the served file."""
    tags = _Tags(httpx.get(server.graphql, headers=_BROWSER).text).tags
    addresses = {attributes.get("src") or attributes.get("href"): attributes for _, attributes in tags}
    vendored = {address: found for address, found in addresses.items() if address and "/vendor/" in address}
    assert len(vendored) == 6
    for address, attributes in vendored.items():
        served = httpx.get(f"{server.url}{address}").raise_for_status().content
        assert attributes.get("integrity") == _integrity("sha384", served), address


@pytest.mark.usefixtures("fetched")
def test_a_browser_asks_for_a_file_once(server: Server) -> None:
    """Each address contains the hash of its file, so caches may keep it for ever. Another content is not served there."""
    addresses = _loaded(server)
    assert len(addresses) == 8
    with httpx.Client(base_url=server.url, verify=NO_TLS) as client:
        for address in addresses:
            served = client.get(address).raise_for_status()
            assert served.headers["cache-control"] == "public, max-age=31536000, immutable"
            assert f"/static/{hashlib.sha256(served.content).hexdigest()[:16]}/" in address
            _, _, _, name = address.split("/", 3)
            for other in (f"/static/{name}", f"/static/{'0' * 16}/{name}"):
                assert client.get(other).status_code == 404, other


@pytest.mark.usefixtures("fetched")
def test_a_file_is_sent_compressed(server: Server) -> None:
    """A browser, which accepts gzip, gets all of them in less than half of their bytes. Other clients get them plain."""
    plain = compressed = 0
    with httpx.Client(base_url=server.url, verify=NO_TLS) as client:
        for address in _loaded(server):
            for accepted in ("gzip, deflate, br, zstd", "identity"):
                with client.stream("GET", address, headers={"accept-encoding": accepted}) as answer:
                    sent = b"".join(answer.iter_raw())
                assert answer.headers["vary"] == "accept-encoding"
                assert int(answer.headers["content-length"]) == len(sent)
                encoded = answer.headers.get("content-encoding") == "gzip"
                assert encoded == (accepted != "identity" and sent.startswith(b"\x1f\x8b"))
                plain, compressed = plain + len(sent) * (not encoded), compressed + len(sent) * encoded
    assert 2 * compressed < plain


async def test_another_content_has_another_address(static: Path) -> None:
    """A page shows the new one without a restart, and whoever asks for the old one gets nothing else in its place."""
    files = Files(static)
    before = await files.addresses()
    old = await files.at(before["graphiql.css"])
    (static / "graphiql.css").write_text("body { margin: 0 }")
    after = await files.addresses()
    assert before["graphiql.css"] != after["graphiql.css"]
    assert before["graphiql.js"] == after["graphiql.js"]
    new = await files.at(after["graphiql.css"])
    assert old is not None
    assert new is not None
    assert (new.content, gzip.decompress(new.compressed)) == (b"body { margin: 0 }",) * 2
    assert await files.at(before["graphiql.css"]) is None


def test_the_page_and_the_lock_file_name_the_same_files() -> None:
    """The page asks for the files that are fetched: nothing is missing, and nothing but licences is left over."""
    home = vendor.STATIC.parent
    lock = json.loads((home / "package-lock.json").read_bytes())["packages"]
    fetched = {
        f"{package.rpartition('/')[2]}-{lock[f'node_modules/{package}']['version']}{suffix}"
        for package, files in vendor.FILES.items()
        for suffix in files
    }
    named = set(re.findall(r'"/static/vendor/([^"]+)"', (vendor.STATIC / "graphiql.html").read_text()))
    assert {name for name in fetched if not name.endswith(".LICENSE")} == named
    assert lock[""]["dependencies"] == json.loads((home / "package.json").read_bytes())["dependencies"]
    assert lock[""]["dependencies"].keys() == vendor.FILES.keys()


def test_the_lock_file_holds_every_package_to_its_hash_and_names_no_registry() -> None:
    """Another machine may have another registry, and gets the same bytes from it."""
    lock = json.loads((vendor.STATIC.parent / "package-lock.json").read_bytes())["packages"]
    for name, entry in lock.items():
        assert not name or entry["integrity"].startswith("sha512-"), name
        assert "resolved" not in entry, name


@pytest.mark.parametrize("path", _OURS, ids=lambda path: path.name)
def test_our_own_files_point_nowhere_else(path: Path) -> None:
    """No URL in our pages, scripts and styles leads to another host."""
    assert _ADDRESS.findall(path.read_text()) == []


@pytest.mark.parametrize("name", ["graphiql.html", "graphiql-missing.html"])
def test_our_pages_hold_no_code(name: str) -> None:
    """They have no inline scripts, event handlers or inline styles."""
    found = _Tags((vendor.STATIC / name).read_text())
    attributes = {attribute for _, given in found.tags for attribute in given}
    assert found.scripts == ""
    assert {attribute for attribute in attributes if attribute.startswith("on") or attribute == "style"} == set()
    assert "style" not in {tag for tag, _ in found.tags}


async def test_where_nothing_is_fetched_the_page_says_how_to(static: Path) -> None:
    """Without the third-party files a page says so, names the command, and works without scripts."""
    answer = await page(static)
    text = bytes(answer.body).decode()
    assert answer.status_code == 503
    assert "make setup" in text
    assert "script" not in {tag for tag, _ in _Tags(text).tags}
    assert "script-src 'self'" in answer.headers["content-security-policy"]


def test_the_query_that_it_suggests_is_answered(server: Server) -> None:
    """The curl command of that page gives orders."""
    text = (vendor.STATIC / "graphiql-missing.html").read_text()
    body = re.findall(r"-d '(.+)'", text)
    answer = httpx.post(server.graphql, content=body[0], headers={"content-type": "application/json"}).json()
    assert len(answer["data"]["orders"]["nodes"]) == 3


@pytest.mark.usefixtures("fake_npm")
def test_the_files_are_put_in_place(static: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The files of npm's packages are copied under our names, and a line says so; from then on the page is GraphiQL."""
    assert vendor.main([], static=static) == 0
    assert _below(static) == _copied("1.0.0")
    assert asyncio.run(page(static)).status_code == 200
    packages = ", ".join(f"{package}@1.0.0" for package in vendor.FILES)
    assert capsys.readouterr().out == f"GraphiQL was fetched: {packages}\n"
    assert (tmp_path / "calls").read_text() == "ci\n"
    assert list(static.glob(".*")) == []


@pytest.mark.usefixtures("fake_npm")
def test_what_is_there_is_not_fetched_again(static: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With all files in place npm is not called, and nothing is printed."""
    vendor.main([], static=static)
    capsys.readouterr()
    assert vendor.main([], static=static) == 0
    assert (tmp_path / "calls").read_text().count("\n") == 1
    assert capsys.readouterr() == ("", "")


def test_another_lock_file_replaces_the_files(static: Path, fake_npm: FakeNpm) -> None:
    """After a change of the lock file the old files are not served, and none of them is left."""
    vendor.main([], static=static)
    _lock(static, {package: {"version": "2.0.0"} for package in vendor.FILES})
    assert not vendor.is_complete(static)
    fake_npm("2.0.0")
    assert vendor.main([], static=static) == 0
    assert _below(static) == _copied("2.0.0")


@pytest.mark.parametrize("arguments", [[], ["--optional"]])
def test_a_wrong_hash_is_refused_loudly(
    static: Path, tmp_path: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """A package that is not the chosen one fails even where the files are optional, and nothing of it is kept.

    The npm is the real one.
    """
    node.tool("npm")
    entries = {}
    for package in vendor.FILES:
        folder = tmp_path / "made" / package
        _make(folder, package, "1.0.0")
        tarball = folder.with_suffix(".tgz")
        tarball.write_bytes(_tarball(folder))
        integrity = _integrity("sha512", tarball.read_bytes())
        entries[package] = {"version": "1.0.0", "resolved": f"file:{tarball}", "integrity": integrity}
    _lock(static, entries)
    assert vendor.main(arguments, static=static) == 0
    shutil.rmtree(static / "vendor")
    chosen = entries["react"]["integrity"] = _integrity("sha512", b"another package")
    _lock(static, entries)
    assert vendor.main(arguments, static=static) == 1
    message = capsys.readouterr().err
    assert f"wanted {chosen} but got" in message
    assert not (static / "vendor").exists()
    assert list(static.glob(".*")) == []


@pytest.mark.parametrize(("arguments", "code"), [([], 1), (["--optional"], 0)])
def test_without_npm_it_says_what_to_install(
    static: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without npm a sentence says so; only `--optional` lets it pass."""
    monkeypatch.setenv("PATH", "")
    assert vendor.main(arguments, static=static) == code
    assert "npm is not installed." in capsys.readouterr().err


@pytest.mark.usefixtures("fake_npm")
def test_npms_own_message_is_passed_on(static: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """If npm fails, for example on a machine that reaches no registry, its own message is printed."""
    (tmp_path / "bin" / "npm").write_text("#!/bin/sh\necho 'no way out' >&2\nexit 1\n")
    assert vendor.main([], static=static) == 1
    assert "no way out" in capsys.readouterr().err
