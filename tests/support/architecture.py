"""import-linter's contract that no package is crowded (pyproject.toml names it, `make check` runs it)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from importlinter import Contract, ContractCheck, fields, output

if TYPE_CHECKING:
    from grimp import ImportGraph


class RoomContract(Contract):
    """A package holds at most `most_modules` modules. Its `__init__.py` and its subpackages do not count."""

    type_name = "room"

    packages = fields.ListField(subfield=fields.StringField())
    subpackages_too = fields.BooleanField()
    most_modules = fields.IntegerField()

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:  # noqa: ARG002, FBT001 # import-linter's signature
        """Count the modules of the packages, and of the packages below them if those are meant too."""
        packages, below, most = self._settings()
        wanted = set(packages).union(*(graph.find_descendants(package) for package in packages if below))
        crowded = {}
        for package in sorted(wanted):
            modules = [child for child in graph.find_children(package) if not graph.find_children(child)]
            if len(modules) > most:
                crowded[package] = (len(modules), most)
        return ContractCheck(kept=not crowded, metadata={"crowded": crowded})

    def _settings(self) -> tuple[list[str], bool, int]:
        # import-linter has replaced the fields by their values by then. Their types do not say so.
        given: Any = self
        return given.packages, given.subpackages_too, given.most_modules

    def render_broken_contract(self, check: ContractCheck) -> None:
        """Say which packages are crowded."""
        for package, (modules, most) in check.metadata["crowded"].items():
            output.print_error(f"{package} has {modules} modules; {most} are enough. Is it two ideas?")
