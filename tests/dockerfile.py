"""Owns the replay of a Dockerfile without Docker: its own steps, run in a directory for each stage.

What is not as in Docker: the base images are this machine's Python and Node; a step sees this machine's files beside its
stage's, and its paths are those of the stage's directory; a change of a file's owner or mode is none.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_INSTRUCTION: Final = re.compile(r"([A-Z]+)\s+(.*)", re.DOTALL)
# What pip and npm are told on this machine, and where they find more of that.
_TOLD: Final = ("HOME", "LANG", "TMPDIR", "SSL_CERT_FILE")
_TOLD_PREFIXES: Final = ("PIP_", "npm_config_", "NPM_CONFIG_")
_STEP_SECONDS: Final = 120


@dataclass
class Stage:
    """A stage, and what an image made of it says."""

    root: Path
    path: str
    directory: PurePosixPath = field(default_factory=lambda: PurePosixPath("/"))
    env: dict[str, str] = field(default_factory=dict)
    user: str = ""
    command: list[str] = field(default_factory=list)
    health: list[str] = field(default_factory=list)
    ports: list[int] = field(default_factory=list)

    def at(self, path: str) -> Path:
        """Where a path of the stage is on this machine."""
        return self.root / (self.directory / path).relative_to("/")

    def mapped(self, text: str) -> str:
        """A command in which the stage's absolute paths are this machine's."""
        return re.sub(r"(?<![\w./:-])/(?=[a-z])", f"{self.root}/", text)

    @property
    def ids(self) -> tuple[int, int]:
        """The user and group that its command is run as."""
        user, _, group = self.user.partition(":")
        return int(user), int(group)


class Replay:
    """The stages of a Dockerfile, run one after the other."""

    def __init__(
        self, context: Path, place: Path, *, images: dict[str, Callable[[Path], None]], cache: dict[str, str]
    ) -> None:
        """Begin with none.

        Args:
            context: the directory of the Dockerfile, a git work tree.
            place: a directory for the stages.
            images: what stands for a base image, by the name before its tag: fills a directory as its root.
            cache: variables of the steps' environment in place of those that the Dockerfile sets.
        """
        self._context, self._place, self._images, self._cache = context, place, images, cache
        self._stages: dict[str, Stage] = {}
        self._stage: Stage | None = None

    def run(self) -> Stage:
        """Every instruction; the last stage.

        Raises:
            ValueError: an instruction, or a form of one, that is not known here.
        """
        for name, rest in instructions((self._context / "Dockerfile").read_text()):
            step = getattr(self, f"_{name.lower()}", None)
            if step is None or (name != "FROM" and self._stage is None):
                raise ValueError(f"{name} {rest}")
            step(rest)
        return self._now

    @property
    def _now(self) -> Stage:
        assert self._stage is not None
        return self._stage

    def _from(self, rest: str) -> None:
        image, _, name = rest.partition(" AS ")
        base, _, tag = image.partition(":")
        if not tag or base not in self._images:
            raise ValueError(f"FROM {rest}")
        root = self._place / str(len(self._stages))
        root.mkdir()
        self._images[base](root)
        self._stage = Stage(root, f"{root}/usr/local/bin:{os.environ['PATH']}")
        self._stages[name or "the last"] = self._stage

    def _workdir(self, rest: str) -> None:
        self._now.directory /= rest
        self._now.at("").mkdir(parents=True, exist_ok=True)

    def _env(self, rest: str) -> None:
        for pair in shlex.split(rest):
            name, _, value = pair.partition("=")
            self._now.env[name] = value

    def _copy(self, rest: str) -> None:
        *names, to = [word for word in rest.split() if not word.startswith("--")]
        options = [word for word in rest.split() if word.startswith("--")]
        into = to.endswith("/") or len(names) > 1
        for name in names:
            target = self._now.at(to) / PurePosixPath(name).name if into else self._now.at(to)
            if not options:
                self._copy_context(name, target if not (self._context / name).is_dir() else self._now.at(to))
            elif len(options) == 1 and options[0].startswith("--from="):
                _copy(self._stages[options[0].removeprefix("--from=")].at(name), target)
            else:
                raise ValueError(f"COPY {rest}")

    def _copy_context(self, name: str, target: Path) -> None:
        source = PurePosixPath(name)
        found = [file for file in sent(self._context) if file == source or source in file.parents]
        if not found:
            raise ValueError(f"COPY {name}: .dockerignore leaves nothing of it")
        for file in found:
            _copy(self._context / file, target / file.relative_to(source))

    def _run(self, rest: str) -> None:
        stage = self._now
        told = {name: value for name, value in os.environ.items() if name in _TOLD or name.startswith(_TOLD_PREFIXES)}
        done = subprocess.run(
            ["/bin/sh", "-ec", stage.mapped(rest)],
            cwd=stage.at(""),
            env={**told, **stage.env, **self._cache, "PATH": stage.path},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_STEP_SECONDS,
            check=False,
        )
        if done.returncode:
            raise ValueError(f"RUN {rest}: {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")

    def _user(self, rest: str) -> None:
        self._now.user = rest

    def _expose(self, rest: str) -> None:
        self._now.ports += map(int, rest.split())

    def _healthcheck(self, rest: str) -> None:
        self._now.health = json.loads(rest.partition("CMD")[2])

    def _cmd(self, rest: str) -> None:
        self._now.command = json.loads(rest)


def instructions(text: str) -> Iterable[tuple[str, str]]:
    """The instructions of a Dockerfile, each as its name and what it says."""
    lines = "\n".join(line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#"))
    for line in lines.replace("\\\n", " ").splitlines():
        found = _INSTRUCTION.fullmatch(line.strip())
        if found is None:
            raise ValueError(line)
        yield found[1], found[2]


def sent(context: Path) -> list[PurePosixPath]:
    """The files that are sent to the builder: those that git knows or would take, under .dockerignore's rules."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    files = subprocess.run(listed, cwd=context, capture_output=True, text=True, check=True).stdout.splitlines()
    rules = [line for line in (context / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    compiled = [(rule[0] == "!", _pattern(rule.removeprefix("!"))) for rule in rules]

    def ignored(file: PurePosixPath) -> bool:
        # The last rule that fits the file or a directory above it decides.
        names = [str(name) for name in (file, *file.parents)]
        kept = [keeps for keeps, pattern in compiled if any(map(pattern.fullmatch, names))]
        return bool(kept) and not kept[-1]

    paths = [PurePosixPath(name) for name in files if (context / name).exists()]
    return [path for path in paths if not ignored(path)]


def _pattern(rule: str) -> re.Pattern[str]:
    parts = {"**/": "(.*/)?", "*": "[^/]*", "?": "[^/]"}
    words = re.split(r"(\*\*/|\*|\?)", rule)
    return re.compile("".join(parts.get(word, re.escape(word)) for word in words))


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)
    else:
        shutil.copy2(source, target)
