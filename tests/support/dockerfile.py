"""The replay of a Dockerfile without Docker: its steps run in a directory for each stage.

The differences to Docker: the base images are this machine's Python and Node. A step sees this machine's files beside
its stage's, and its paths are those of the stage's directory. Changes of owners and modes have no effect.

As in Docker, a stage that nothing is copied from does not run, and a stage with the same input does not run again: what
the others copy from it is kept.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

from tests.support.kept import kept

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_INSTRUCTION: Final = re.compile(r"([A-Z]+)\s+(.*)", re.DOTALL)
# This machine's configuration of pip and npm, and where they find more of it.
_PASSED_ON: Final = ("HOME", "LANG", "TMPDIR", "SSL_CERT_FILE")
_PASSED_ON_PREFIXES: Final = ("PIP_", "npm_config_", "NPM_CONFIG_")
_STEP_SECONDS: Final = 600
# A longer file is neither a script nor a record of a path.
_NOTE_BYTES: Final = 1 << 13
# Names the file that records where a kept stage was made.
_MADE_AT: Final = "made-at"


@dataclass(frozen=True)
class Image:
    """A substitute for a base image: it fills a directory as its root. A version tells it from others."""

    fill: Callable[[Path], None]
    version: Callable[[], str]


@dataclass
class Stage:
    """A stage, and the configuration of an image made of it. `made_at` is the root that its files refer to."""

    root: Path
    path: str
    made_at: str
    directory: PurePosixPath = field(default_factory=lambda: PurePosixPath("/"))
    env: dict[str, str] = field(default_factory=dict)
    user: str = ""
    command: list[str] = field(default_factory=list)
    health: list[str] = field(default_factory=list)
    ports: list[int] = field(default_factory=list)

    def at(self, path: str) -> Path:
        """A path of the stage on this machine."""
        return self.root / (self.directory / path).relative_to("/")

    def mapped(self, text: str) -> str:
        """A command with the stage's absolute paths replaced by this machine's."""
        return re.sub(r"(?<![\w./:-])/(?=[a-z])", f"{self.root}/", text)

    @property
    def ids(self) -> tuple[int, int]:
        """The ids of the user and group that run its command."""
        user, _, group = self.user.partition(":")
        return int(user), int(group)


class Replay:
    """The stages of a Dockerfile. Each runs when something is copied from it."""

    def __init__(self, context: Path, place: Path, *, images: dict[str, Image], cache: dict[str, str]) -> None:
        """Prepare the replay.

        Args:
            context: the directory of the Dockerfile, a git work tree.
            place: a directory for the stages.
            images: the substitutes for base images, by the name before the tag.
            cache: variables for the steps' environment, which replace those that the Dockerfile sets.
        """
        self._context, self._place, self._images, self._cache = context, place, images, cache
        # The instructions of each stage, by its name. The first one is its FROM.
        self._steps: dict[str, list[tuple[str, str]]] = {}
        self._stages: dict[str, Stage] = {}
        self._stage: Stage | None = None
        self._files: list[PurePosixPath] = []

    def run(self) -> Stage:
        """Run the last stage and return it.

        Raises:
            ValueError: an instruction, or a form of one, is not supported.
        """
        name = ""
        for instruction, rest in instructions((self._context / "Dockerfile").read_text()):
            if not hasattr(self, f"_{instruction.lower()}") or (instruction != "FROM" and not name):
                raise ValueError(f"{instruction} {rest}")
            if instruction == "FROM":
                name = rest.partition(" AS ")[2] or f"the last of {len(self._steps) + 1}"
            self._steps.setdefault(name, []).append((instruction, rest))
        return self._run_stage(name)

    def _of(self, name: str) -> Stage:
        """A stage that something is copied from. If it takes long to run, it is kept."""
        if name not in self._stages:
            if self._runs(name):
                # Run the stage's own sources first, because only one entry can be made at a time.
                for source in (_copied(rest)[0] for instruction, rest in self._steps[name] if instruction == "COPY"):
                    if source and self._runs(source):
                        self._of(source)
                content = kept("stages", self._hash(name), lambda into: self._keep(name, into))
                stage = Stage(content / "root", "", (content / _MADE_AT).read_text())
                for _, rest in (step for step in self._steps[name] if step[0] == "WORKDIR"):
                    stage.directory /= rest
            else:
                stage = self._run_stage(name)
            self._stages[name] = stage
        return self._stages[name]

    def _runs(self, name: str) -> bool:
        """Whether a stage has a RUN instruction, which takes time."""
        return any(instruction == "RUN" for instruction, _ in self._steps[name])

    def _keep(self, name: str, into: Path) -> None:
        """Run a stage, and keep the files that other stages copy from it."""
        stage = self._run_stage(name)
        (into / _MADE_AT).write_text(stage.made_at)
        copies = [_copied(rest) for steps in self._steps.values() for step, rest in steps if step == "COPY"]
        taken = {stage.at(path) for source, paths, _ in copies if source == name for path in paths}
        # A path inside another copied path is copied with it.
        for found in (path for path in taken if taken.isdisjoint(path.parents)):
            target = into / "root" / found.relative_to(stage.root)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(found, target)
        shutil.rmtree(stage.root)

    def _hash(self, name: str) -> str:
        """A hash of everything that a stage depends on."""
        base = self._steps[name][0][1].partition(":")[0]
        registries = sorted(
            (name, value) for name, value in self._passed_on().items() if name.startswith(_PASSED_ON_PREFIXES)
        )
        parts = [self._images[base].version(), Path(__file__).read_text(), registries]
        for instruction, rest in self._steps[name]:
            source, paths, _ = _copied(rest) if instruction == "COPY" else ("", [], "")
            files = [file for path in paths if not source for file in self._sent(path)]
            contents = [hashlib.sha256((self._context / file).read_bytes()).hexdigest() for file in files]
            parts += [instruction, rest, self._hash(source) if source else "", list(map(str, files)), contents]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def _run_stage(self, name: str) -> Stage:
        """Run all instructions of a stage."""
        outer, self._stage = self._stage, None
        for instruction, rest in self._steps[name]:
            getattr(self, f"_{instruction.lower()}")(rest)
        stage, self._stage = self._now, outer
        return stage

    @property
    def _now(self) -> Stage:
        assert self._stage is not None
        return self._stage

    def _from(self, rest: str) -> None:
        base, _, tag = rest.partition(" AS ")[0].partition(":")
        if not tag or base not in self._images:
            raise ValueError(f"FROM {rest}")
        root = Path(tempfile.mkdtemp(dir=self._place, prefix="stage-"))
        root.chmod(0o755)
        self._images[base].fill(root)
        self._stage = Stage(root, f"{root}/usr/local/bin:{os.environ['PATH']}", str(root))

    def _workdir(self, rest: str) -> None:
        self._now.directory /= rest
        self._now.at("").mkdir(parents=True, exist_ok=True)

    def _env(self, rest: str) -> None:
        for pair in shlex.split(rest):
            name, _, value = pair.partition("=")
            self._now.env[name] = value

    def _copy(self, rest: str) -> None:
        source, names, to = _copied(rest)
        into = to.endswith("/") or len(names) > 1
        for name in names:
            target = self._now.at(to) / PurePosixPath(name).name if into else self._now.at(to)
            if source:
                stage = self._of(source)
                _take(stage.at(name), target, (stage.made_at, self._now.made_at))
            else:
                self._copy_context(name, target if not (self._context / name).is_dir() else self._now.at(to))

    def _copy_context(self, name: str, target: Path) -> None:
        for file in self._sent(name):
            _copy(self._context / file, target / file.relative_to(name))

    def _sent(self, name: str) -> list[PurePosixPath]:
        """The files of the context below a path."""
        source = PurePosixPath(name)
        self._files = self._files or sent(self._context)
        found = [file for file in self._files if file == source or source in file.parents]
        if not found:
            raise ValueError(f"COPY {name}: .dockerignore leaves nothing of it")
        return found

    def _passed_on(self) -> dict[str, str]:
        """The part of this machine's environment that the steps get."""
        return {
            name: value
            for name, value in os.environ.items()
            if name in _PASSED_ON or name.startswith(_PASSED_ON_PREFIXES)
        }

    def _run(self, rest: str) -> None:
        stage = self._now
        done = subprocess.run(
            ["/bin/sh", "-ec", stage.mapped(rest)],
            cwd=stage.at(""),
            env={**self._passed_on(), **stage.env, **self._cache, "PATH": stage.path},
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
    """The instructions of a Dockerfile, as names and arguments."""
    lines = "\n".join(line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#"))
    for line in lines.replace("\\\n", " ").splitlines():
        found = _INSTRUCTION.fullmatch(line.strip())
        if found is None:
            raise ValueError(line)
        yield found[1], found[2]


def sent(context: Path) -> list[PurePosixPath]:
    """The files sent to the builder: those that git tracks or would add, filtered by .dockerignore."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    files = subprocess.run(listed, cwd=context, capture_output=True, text=True, check=True).stdout.splitlines()
    rules = [line for line in (context / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    compiled = [(rule[0] == "!", _pattern(rule.removeprefix("!"))) for rule in rules]

    def ignored(file: PurePosixPath) -> bool:
        # The last rule that matches the file or a directory above it decides.
        names = [str(name) for name in (file, *file.parents)]
        kept = [keeps for keeps, pattern in compiled if any(map(pattern.fullmatch, names))]
        return bool(kept) and not kept[-1]

    paths = [PurePosixPath(name) for name in files if (context / name).exists()]
    return [path for path in paths if not ignored(path)]


def _pattern(rule: str) -> re.Pattern[str]:
    parts = {"**/": "(.*/)?", "*": "[^/]*", "?": "[^/]"}
    words = re.split(r"(\*\*/|\*|\?)", rule)
    return re.compile("".join(parts.get(word, re.escape(word)) for word in words))


def _copied(rest: str) -> tuple[str, list[str], str]:
    """The source stage of a COPY if it has one, its source paths, and its target."""
    words = rest.split()
    options = [word for word in words if word.startswith("--")]
    *names, to = [word for word in words if word not in options]
    if [option for option in options if not option.startswith("--from=")] or len(options) > 1:
        raise ValueError(f"COPY {rest}")
    return "".join(options).removeprefix("--from="), names, to


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, target)


def _take(source: Path, target: Path, places: tuple[str, str]) -> None:
    """Copy a file or directory of a stage. Where its text has the first of two places, the copy has the second."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_symlink():
        target.symlink_to(str(source.readlink()).replace(*places))
    elif source.is_dir():
        target.mkdir(exist_ok=True)
        for found in source.iterdir():
            _take(found, target / found.name, places)
        shutil.copystat(source, target)
    elif (text := _note(source)) and places[0].encode() in text:
        target.write_bytes(text.replace(places[0].encode(), places[1].encode()))
        shutil.copystat(source, target)
    else:
        # A hard link would take a quarter of the time, but a step may write into the file.
        shutil.copy2(source, target)


def _note(file: Path) -> bytes:
    """A file's content if it may be a script or a record of a path, or else nothing."""
    text = file.read_bytes() if file.stat().st_size <= _NOTE_BYTES else b""
    return b"" if b"\0" in text else text
