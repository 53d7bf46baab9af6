"""Tests of the container: its Dockerfile is clean, and its steps make a server that runs and stops unprivileged."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import httpx
import pytest

from tests.servers.process import NO_TLS, PATIENCE_SECONDS, PATIENT, ROOT, answers, free_port, wait_for
from tests.support.calibration import hold
from tests.support.dockerfile import Image, Replay, Stage, instructions, sent
from tests.support.requirements import pins

if TYPE_CHECKING:
    from collections.abc import Iterator

    from server.local.cluster import Cluster

# A little more than the time that an orchestrator gives a container.
_STOP_SECONDS = 12
ROOT_USER = os.getuid() == 0
ANYBODY = 10001


@functools.cache  # noqa: RET503 # the last line does not return
def python() -> str:
    """A Python that any user may run. The current one may be in a directory of root's."""
    for found in (sys._base_executable, "/usr/bin/python3", "/usr/local/bin/python3"):  # type: ignore[attr-defined] # noqa: SLF001 # there is no public name for it
        program = "import sys, ensurepip; sys.exit(sys.version_info < (3, 11))"
        with contextlib.suppress(OSError):
            tried = subprocess.run(
                [found, "-c", program],
                capture_output=True,
                check=False,
                user=ANYBODY if ROOT_USER else None,
                group=ANYBODY if ROOT_USER else None,
                extra_groups=[] if ROOT_USER else None,
            )
            if not tried.returncode:
                return str(found)
    missing("Python 3.11 or newer that an unprivileged user may run")


def missing(what: str) -> NoReturn:
    """Skip the test, or fail it if CI=true, because something is missing."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"there is no {what}")
    # The other tests are worth running on a laptop. In CI the line above has failed this one.
    pytest.skip(f"there is no {what}")


def tools() -> tuple[str, str]:
    """The paths of node and npm."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        missing("node and npm on the PATH")
    return node, npm


def output_of(*command: str) -> str:
    """A program's output."""
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def node_image(root: Path) -> None:
    """Copy what the Dockerfile takes from Node's image."""
    node, npm = tools()
    (root / "usr/local/bin").mkdir(parents=True)
    shutil.copy2(node, root / "usr/local/bin/node")
    (root / "usr/local/lib/node_modules").mkdir(parents=True)
    (root / "usr/local/lib/node_modules/npm").symlink_to(Path(npm).resolve().parent.parent)


def python_image(root: Path) -> None:
    """Copy what the Dockerfile takes from Python's image."""
    (root / "usr/local/bin").mkdir(parents=True)
    (root / "usr/local/bin/python").symlink_to(python())


NODE = Image(node_image, lambda: "".join(output_of(tool, "--version") for tool in tools()))
PYTHON = Image(python_image, lambda: python() + output_of(python(), "-c", "import sys; print(sys.version)"))


@pytest.fixture(scope="module")
def image() -> Iterator[Stage]:
    """The last stage, without files of the others."""
    with tempfile.TemporaryDirectory(prefix="container-") as name:
        place = Path(name)
        place.chmod(0o755)
        # pip may use what it has downloaded before.
        replay = Replay(ROOT, place, images={"node": NODE, "python": PYTHON}, cache={"PIP_NO_CACHE_DIR": "0"})
        stage = replay.run()
        for other in place.iterdir():
            if other != stage.root:
                shutil.rmtree(other)
        yield stage


def started(image: Stage, command: list[str], log: Path, **settings: str) -> subprocess.Popen[bytes]:
    """Start a command of the image with the image's environment and user, and these settings."""
    user, group = image.ids
    with log.open("wb") as output:
        return subprocess.Popen(
            [image.mapped(command[0]), *command[1:]],
            cwd=image.at(""),
            env={"PATH": "/usr/bin:/bin", **image.env, **settings},
            stdout=output,
            stderr=subprocess.STDOUT,
            # Only root can become another user, and others have no privileges to lose.
            user=user if ROOT_USER else None,
            group=group if ROOT_USER else None,
            extra_groups=[] if ROOT_USER else None,
        )


def test_the_dockerfile_is_clean() -> None:
    """Hadolint finds nothing, with all its rules."""
    hadolint = Path(sys.executable).parent / "hadolint"
    output_of = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (output_of.returncode, output_of.stdout, output_of.stderr) == (0, "", "")
    assert "hadolint ignore" not in (ROOT / "Dockerfile").read_text()


def test_every_base_image_is_one_that_cannot_change() -> None:
    """Each is named by its digest, and its tag says which version that is. An image has one digest everywhere."""
    named = [rest.partition(" ")[0] for name, rest in instructions((ROOT / "Dockerfile").read_text()) if name == "FROM"]
    images = dict(image.split("@", 1) for image in named)
    assert all(re.fullmatch(r"[a-z]+:[0-9]+\.[0-9]+\.[0-9]+-[a-z-]+", image) for image in images)
    assert all(re.fullmatch("sha256:[0-9a-f]{64}", digest) for digest in images.values())
    assert len({*named}) == len(images)


def test_the_builder_gets_only_what_it_needs() -> None:
    """No tests, nothing that only `make run` needs, and no file that may hold a secret."""
    tops = {path.parts[0] for path in sent(ROOT)}
    assert tops == {"schema", "server", "requirements.txt"}
    assert not [path for path in sent(ROOT) if "local" in path.parts or ".env" in path.parts]


def test_an_instruction_that_is_not_known_fails(tmp_path: Path) -> None:
    """The replay does not skip it, so that it does what a build does."""
    (tmp_path / "Dockerfile").write_text("FROM python:3\nONBUILD RUN true\n")
    with pytest.raises(ValueError, match="ONBUILD"):
        Replay(tmp_path, tmp_path, images={"python": PYTHON}, cache={}).run()


def test_only_what_is_needed_is_in_it(image: Stage) -> None:
    """It has no local stand-ins or tests, nor packages for them; but GraphiQL's files, and an unprivileged user."""
    assert sorted(path.name for path in image.at("").iterdir()) == ["schema", "server"]
    assert not image.at("server/local").exists()
    assert (image.at("server/graphql/graphiql/static/vendor") / ".lock-sha256").exists()
    shown = subprocess.run(
        [image.mapped("/venv/bin/python"), "-m", "pip", "list", "--format=freeze"],
        capture_output=True,
        text=True,
        check=True,
    )
    installed = {line.partition("==")[0].lower().replace("_", "-") for line in shown.stdout.splitlines()}
    assert installed - {"pip", "setuptools"} == pins(ROOT / "requirements.txt").keys()
    assert min(image.ids) > 999
    assert image.env == {
        "APP_ENV": "production",
        "HOST": "0.0.0.0",  # noqa: S104 # a container listens on all its addresses
        "PORT": "8000",
        "PYTHONUNBUFFERED": "1",
    }
    assert image.ports == [8000]
    assert dict(instructions((ROOT / "Dockerfile").read_text()))["CMD"].startswith("[")


def test_it_does_not_start_until_access_is_configured(image: Stage, cluster: Cluster, tmp_path: Path) -> None:
    """A database alone is not enough. The exit code and the message are those of wrong settings."""
    log = tmp_path / "log"
    process = started(image, image.command, log, DATABASE_URL=cluster.url)
    assert process.wait(PATIENCE_SECONDS) == 2
    assert "AUTH_MODE" in log.read_text()


def test_it_serves_and_stops(image: Stage, orders_url: str, tmp_path: Path) -> None:
    """As its own user it serves orders and GraphiQL, has a working health check, and exits with 0 on SIGTERM."""
    with serving(image, orders_url, tmp_path) as (process, url):
        query = {"query": "{ order(orderKey: 1) { orderKey } }"}
        answer = httpx.post(f"{url}/api/graphql", json=query, verify=NO_TLS)
        assert answer.json() == {"data": {"order": {"orderKey": "1"}}}
        page = httpx.get(f"{url}/api/graphql", headers={"accept": "text/html"}, verify=NO_TLS)
        assert (page.status_code, "graphiql" in page.text) == (200, True)
        if ROOT_USER:
            assert Path(f"/proc/{process.pid}").stat().st_uid == image.ids[0]
        process.terminate()
        assert process.wait(PATIENCE_SECONDS) == 0, (tmp_path / "log").read_text()


@pytest.mark.long
def test_it_stops_within_twelve_seconds(image: Stage, orders_url: str, tmp_path: Path) -> None:
    """It ends within twelve seconds of SIGTERM."""
    with serving(image, orders_url, tmp_path) as (process, _):
        began = time.monotonic()
        process.terminate()
        assert process.wait(PATIENCE_SECONDS) == 0
        hold("the stop of a container", time.monotonic() - began, computing_seconds=_STOP_SECONDS)


@contextlib.contextmanager
def serving(image: Stage, orders_url: str, place: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """Run the image's command until its health check passes; give the process and its URL."""
    port, log = free_port(), place / "log"
    url = f"http://127.0.0.1:{port}"
    settings = {**PATIENT, "DATABASE_URL": orders_url, "AUTH_MODE": "local", "HOST": "127.0.0.1", "PORT": str(port)}
    assert started(image, image.health, log, PORT=str(port)).wait(PATIENCE_SECONDS) != 0
    process = started(image, image.command, log, **settings)
    try:
        wait_for(lambda: answers(f"{url}/readyz"), what=log.read_text, given_up=lambda: process.poll() is not None)
        wait_for(lambda: healthy(image, place / "health", port), what=(place / "health").read_text)
        yield process, url
    finally:
        process.kill()
        process.wait(PATIENCE_SECONDS)


def healthy(image: Stage, log: Path, port: int) -> bool:
    """Whether the image's health check passes."""
    return started(image, image.health, log, PORT=str(port)).wait(PATIENCE_SECONDS) == 0
