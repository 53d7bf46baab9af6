"""The server with other values for some of its constants: `running_server(..., altered={...})` runs it.

It is for times and sizes that are not settings, and that a test cannot wait for or must not meet on a slow machine. The
environment variable ALTERED holds them as JSON: `{"server.process.uvicorn_server._GRACEFUL_SECONDS": 600}`. They apply
to each worker process too.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from importlib.machinery import PathFinder
from typing import TYPE_CHECKING, Any

from server.__main__ import main

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType


class _Altering:
    """Finds modules with altered constants, and alters them as soon as the module is loaded.

    Loading them earlier would change what the server loads, and when: it handles signals before it loads most modules.
    """

    def __init__(self, constants: Mapping[str, Mapping[str, object]]) -> None:
        self._constants = constants

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """The module's own spec, with a loader that alters constants; None for any other module."""
        if name not in self._constants or (spec := PathFinder.find_spec(name, path, target)) is None:
            return None
        loader: Any = spec.loader
        execute: Callable[[ModuleType], None] = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            _alter(module, self._constants[name])

        loader.exec_module = exec_module
        return spec


def alter() -> None:
    """Set the constants: at once in loaded modules, and in others when they are loaded.

    Raises:
        AttributeError: a module has no such constant.
        ModuleNotFoundError: there is no such module.
    """
    constants: dict[str, dict[str, object]] = {}
    # Workers read it again.
    for name, value in json.loads(os.environ.get("ALTERED", "{}")).items():
        module, _, constant = name.rpartition(".")
        constants.setdefault(module, {})[constant] = value
    for name, values in constants.items():
        if name in sys.modules:
            _alter(sys.modules[name], values)
        elif importlib.util.find_spec(name) is None:
            raise ModuleNotFoundError(name)
    sys.meta_path.insert(0, _Altering(constants))


def _alter(module: ModuleType, values: Mapping[str, object]) -> None:
    for constant, value in values.items():
        if not hasattr(module, constant):
            raise AttributeError(f"{module.__name__}.{constant}")
        setattr(module, constant, value)


# A worker loads its parent's main module under the second name.
if __name__ in {"__main__", "__mp_main__"}:
    alter()
if __name__ == "__main__":
    sys.exit(main())
