"""Tests of what is installed: each package is pinned with the hashes of its files, and no other file is installed."""

from __future__ import annotations

import base64
import ensurepip
import hashlib
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.servers.process import ROOT, environment
from tests.support.requirements import pins

FILES = sorted(ROOT.glob("requirements*.txt"))
SERVERS = ROOT / "requirements.txt"
# The pip that Python brings along, where it does: 22.3 with Python 3.11.0, 23.2 with 3.11.7. A Databricks App may have it.
BUNDLED = sorted((Path(ensurepip.__file__).parent / "_bundled").glob("pip-*.whl"))
# A package of one module, which needs no other.
PACKAGE = "async-lru"


def wheel(folder: Path, name: str, version: str) -> Path:
    """A wheel of this name and version with a module of our own."""
    module = name.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    files = {
        f"{module}/__init__.py": b"raise SystemExit('not the pinned package')\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},sha256={_digest(content)},{len(content)}\n" for path, content in files.items())
    file = folder / f"{module}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as archive:
        for path, content in {**files, f"{info}/RECORD": f"{record}{info}/RECORD,,\n".encode()}.items():
            archive.writestr(path, content)
    return file


def _digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


def install(requirements: Path, found_in: Path, target: Path, *, pip: Path | None) -> subprocess.CompletedProcess[str]:
    """Run `pip install -r` as a Databricks App does, but offline, into a directory; with this pip, or the installed one."""
    offline = ["--no-index", "--find-links", str(found_in), "--target", str(target), "--isolated"]
    return subprocess.run(
        [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", *offline, "-r", str(requirements)],
        capture_output=True,
        text=True,
        env=environment(**({"PYTHONPATH": str(pip)} if pip else {})),
        check=False,
    )


@pytest.mark.parametrize("pip", [None, *BUNDLED], ids=lambda pip: pip.name if pip else "installed pip")
def test_another_file_than_the_pinned_one_is_not_installed(tmp_path: Path, pip: Path | None) -> None:
    """Whoever replaces a package on its way gains nothing, where only `pip install -r requirements.txt` is run."""
    pin = pins(SERVERS)[PACKAGE]
    forged = wheel(tmp_path, PACKAGE, pin.version)
    requirements = tmp_path / "requirements.txt"
    requirements.write_text(f"{pin.text}\n")
    refused = install(requirements, tmp_path, tmp_path / "refused", pip=pip)
    assert refused.returncode != 0
    assert "DO NOT MATCH THE HASHES" in refused.stderr
    assert not (tmp_path / "refused").exists()
    # It would be installed if its own hash were in the file.
    own = hashlib.sha256(forged.read_bytes()).hexdigest()
    requirements.write_text(f"{PACKAGE}=={pin.version} --hash=sha256:{own}\n")
    assert install(requirements, tmp_path, tmp_path / "installed", pip=pip).returncode == 0
    assert (tmp_path / "installed" / "async_lru").is_dir()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_package_is_pinned_with_hashes(file: Path) -> None:
    """There is nothing else in the file, and no address of a registry, which is another one elsewhere."""
    assert len(pins(file)) >= len(pins(SERVERS))
    assert "://" not in file.read_text()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_package_is_the_same_in_every_file(file: Path) -> None:
    """What is tested is what is deployed, with the same versions and files of it."""
    ours, servers, tests = pins(file), pins(SERVERS), pins(ROOT / "requirements-dev.txt")
    for others in (servers, tests):
        assert {name: pin[:2] for name, pin in ours.items() if name in others} == {
            name: pin[:2] for name, pin in others.items() if name in ours
        }
    assert ours.keys() >= servers.keys()


@pytest.mark.parametrize("name", ["Makefile", "Dockerfile"])
def test_every_install_requires_the_hashes(name: str) -> None:
    """Also if a file had none, pip would refuse it. The newest SDK is tried in an environment of its own, unpinned."""
    installs = re.findall(r"^[^#\n]*\bpip install\b[^\n]*", (ROOT / name).read_text(), re.MULTILINE)
    assert installs
    assert all("--require-hashes" in line or "$(SDK_NEWEST)" in line for line in installs)
