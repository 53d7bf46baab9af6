"""Owns the test of the GraphiQL page, of its third-party files, and of their fetching."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import shutil
import tarfile
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import httpx
import pytest

from server.graphiql import vendor
from server.graphiql.page import page
from tests.clients import node

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.process import Server

    FakeNpm = Callable[[str], None]

_BROWSER = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
_OURS = sorted(path for path in vendor.STATIC.iterdir() if path.suffix in {".html", ".js", ".css"})
# An address with a scheme, or one without that a page would complete with its own.
_ADDRESS = re.compile(r"\w+://|[\"'(=]\s*//")
_PACKAGE = "@scope/thing@1.0.0"


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
    """A copy of our own static files, with nothing fetched."""
    return shutil.copytree(vendor.STATIC, tmp_path / "static", ignore=shutil.ignore_patterns("vendor", ".*"))


@pytest.fixture
def fake_npm(static: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeNpm:
    """An npm that brings `@scope/thing` with a file of this content; the manifest names it with the content `right`."""
    programs, tarball = tmp_path / "bin", tmp_path / "scope-thing-1.0.0.tgz"
    programs.mkdir()
    npm = programs / "npm"
    npm.write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/calls\n{shutil.which("cp")} {tarball} .\n')
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", str(programs))

    def brings(content: str) -> None:
        tarball.write_bytes(_tarball(content))

    _choose(static, "right")
    brings("right")
    return brings


def _tarball(content: str) -> bytes:
    # Not compressed, because gzip writes the time of day into what it makes.
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        member = tarfile.TarInfo("package/dist/thing.js")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content.encode()))
    return buffer.getvalue()


def _choose(static: Path, content: str) -> None:
    integrity = _integrity("sha512", _tarball(content))
    files = {"package/dist/thing.js": f"{content}.js"}
    entry = {"package": "@scope/thing", "version": "1.0.0", "integrity": integrity, "files": files}
    (static / "vendor.json").write_text(json.dumps([entry]))


def _integrity(algorithm: str, content: bytes) -> str:
    return f"{algorithm}-{base64.b64encode(hashlib.new(algorithm, content).digest()).decode()}"


def _below(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in (folder / "vendor").glob("[!.]*")}


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
def test_every_third_party_file_is_held_to_its_hash(server: Server) -> None:
    """Each script and style from the vendor folder has an integrity attribute, the hash of what is served."""
    tags = _Tags(httpx.get(server.graphql, headers=_BROWSER).text).tags
    addresses = {attributes.get("src") or attributes.get("href"): attributes for _, attributes in tags}
    vendored = {address: found for address, found in addresses.items() if address and "/vendor/" in address}
    assert len(vendored) == 6
    for address, attributes in vendored.items():
        served = httpx.get(f"{server.url}{address}").raise_for_status().content
        assert attributes.get("integrity") == _integrity("sha384", served), address


def test_the_page_and_the_manifest_name_the_same_files() -> None:
    """What the page asks for is what is fetched: nothing is missing, and nothing but licences is left over."""
    packages = json.loads((vendor.STATIC / "vendor.json").read_bytes())
    made = {name for package in packages for name in package["files"].values()}
    named = set(re.findall(r'"/static/vendor/([^"]+)"', (vendor.STATIC / "graphiql.html").read_text()))
    assert {name for name in made if not name.endswith(".LICENSE")} == named


@pytest.mark.parametrize("path", _OURS, ids=lambda path: path.name)
def test_our_own_files_point_nowhere_else(path: Path) -> None:
    """No address in our pages, scripts and styles leads to another host."""
    assert _ADDRESS.findall(path.read_text()) == []


@pytest.mark.parametrize("name", ["graphiql.html", "graphiql-missing.html"])
def test_our_pages_hold_no_code(name: str) -> None:
    """Neither inline scripts, nor event handlers, nor inline styles."""
    found = _Tags((vendor.STATIC / name).read_text())
    attributes = {attribute for _, given in found.tags for attribute in given}
    assert found.scripts == ""
    assert {attribute for attribute in attributes if attribute.startswith("on") or attribute == "style"} == set()
    assert "style" not in {tag for tag, _ in found.tags}


def test_where_nothing_is_fetched_the_page_says_how_to(static: Path) -> None:
    """Without the third-party files a page says so, names the command, and needs no script."""
    answer = page(static)
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
    """What npm brings is unpacked under our names, and said; GraphiQL's page is shown from then on."""
    assert vendor.main([], static=static) == 0
    assert _below(static) == {"right.js": "right"}
    assert page(static).status_code == 200
    assert capsys.readouterr().out == f"GraphiQL is fetched: {_PACKAGE}\n"
    assert _PACKAGE in (tmp_path / "calls").read_text()
    assert list(static.glob(".*")) == []


@pytest.mark.usefixtures("fake_npm")
def test_what_is_there_is_not_fetched_again(static: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where all is in place npm is not asked, and nothing is said."""
    vendor.main([], static=static)
    capsys.readouterr()
    assert vendor.main([], static=static) == 0
    assert (tmp_path / "calls").read_text().count("\n") == 1
    assert capsys.readouterr() == ("", "")


def test_another_choice_replaces_the_files(static: Path, fake_npm: FakeNpm) -> None:
    """After a change of the manifest the old files are not served, and none of them is left."""
    vendor.main([], static=static)
    _choose(static, "newer")
    assert not vendor.is_complete(static)
    fake_npm("newer")
    assert vendor.main([], static=static) == 0
    assert _below(static) == {"newer.js": "newer"}


@pytest.mark.parametrize("arguments", [[], ["--optional"]])
def test_a_wrong_hash_is_refused_loudly(
    static: Path, fake_npm: FakeNpm, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Other bytes than the chosen ones fail even where the files are optional, and nothing of them is kept."""
    fake_npm("wrong")
    assert vendor.main(arguments, static=static) == 1
    said = capsys.readouterr().err
    for part in (_PACKAGE, _integrity("sha512", _tarball("wrong")), _integrity("sha512", _tarball("right"))):
        assert part in said
    assert not (static / "vendor").exists()
    assert list(static.glob(".*")) == []


@pytest.mark.parametrize(("arguments", "code"), [([], 1), (["--optional"], 0)])
def test_without_npm_it_says_what_to_install(
    static: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """A machine without npm is told so in a sentence; only `--optional` lets it pass."""
    monkeypatch.setenv("PATH", "")
    assert vendor.main(arguments, static=static) == code
    assert "npm is not installed." in capsys.readouterr().err


@pytest.mark.usefixtures("fake_npm")
def test_what_npm_says_of_its_failure_is_passed_on(
    static: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where npm fails, on a machine that reaches no registry say, its own words are shown."""
    (tmp_path / "bin" / "npm").write_text("#!/bin/sh\necho 'no way out' >&2\nexit 1\n")
    assert vendor.main([], static=static) == 1
    assert "no way out" in capsys.readouterr().err
