"""Tests of the deployment to Databricks Apps: its files match the SDK's classes and our settings."""

from __future__ import annotations

import re
import sys
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Union, get_args, get_origin, get_type_hints

import pytest
import yaml
from databricks.sdk.service.apps import App
from databricks.sdk.service.database import DatabaseInstance
from databricks.sdk.service.postgres import ProjectSpec

from server.graphql.graphiql.vendor import STATIC
from server.settings import Settings, load_settings
from tests.servers.process import ROOT
from tests.support.requirements import pins

if TYPE_CHECKING:
    from pathlib import Path

# The SDK's classes of a bundle's resources, and the keys that a bundle adds to each.
KINDS: dict[str, tuple[type, set[str]]] = {
    "apps": (App, {"lifecycle"}),
    "database_instances": (DatabaseInstance, {"lifecycle"}),
    "postgres_projects": (ProjectSpec, {"lifecycle", "project_id", "purge_on_delete"}),
}
# The keys of the bundle's own mappings that we use.
BUNDLE = {"bundle", "variables", "sync", "resources", "targets"}
TARGETS = ["autoscaling", "provisioned"]
# The variables that the platform sets, also from the first database resource.
PLATFORM = {
    "DATABRICKS_APP_NAME": "orders-graphql",
    "DATABRICKS_APP_PORT": "8000",
    "DATABRICKS_HOST": "example.cloud.databricks.com",
    "DATABRICKS_WORKSPACE_ID": "1",
    "DATABRICKS_CLIENT_ID": "00000000-0000-0000-0000-000000000000",
    "DATABRICKS_CLIENT_SECRET": "secret",
    "PGHOST": "instance.database.cloud.databricks.com",
    "PGPORT": "5432",
    "PGDATABASE": "databricks_postgres",
    "PGUSER": "00000000-0000-0000-0000-000000000000",
    "PGSSLMODE": "require",
    "PGAPPNAME": "orders-graphql",
}
ENDPOINT = "projects/orders-api/branches/production/endpoints/primary"


def parsed(name: str) -> dict[str, Any]:
    """One of our YAML files, without duplicate keys."""

    class Once(yaml.SafeLoader):
        """A YAML loader that refuses duplicate keys, which PyYAML accepts."""

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 # PyYAML's signature
            mapping = super().construct_mapping(node, deep)
            assert len(mapping) == len(node.value), f"a key twice in {name}"
            return mapping

    document = yaml.load((ROOT / name).read_text(), Once)  # noqa: S506 # it is a safe loader
    assert isinstance(document, dict)
    return document


@pytest.fixture(scope="module")
def bundle() -> dict[str, Any]:
    """databricks.yml."""
    return parsed("databricks.yml")


@pytest.fixture(scope="module")
def app() -> dict[str, Any]:
    """app.yaml."""
    return parsed("app.yaml")


def of_target(bundle: dict[str, Any], target: str) -> dict[str, dict[str, dict[str, Any]]]:
    """The resources of a target: the bundle's, with the target's own merged in."""
    merged: dict[str, dict[str, dict[str, Any]]] = {}
    for resources in (bundle["resources"], bundle["targets"][target]["resources"]):
        for kind, named in resources.items():
            for name, value in named.items():
                merged.setdefault(kind, {}).setdefault(name, {}).update(value)
    return merged


def misfits(value: Any, kind: Any, where: str, extra: set[str] = frozenset()) -> list[str]:  # type: ignore[assignment] # never changed
    """Where a value does not match the SDK's class: unknown keys, unknown enum members, wrong types."""
    if get_origin(kind) is Union:
        (kind,) = (each for each in get_args(kind) if each is not type(None))
    if get_origin(kind) is list:
        if not isinstance(value, list):
            return [f"{where}: no list"]
        (of,) = get_args(kind)
        return [misfit for number, each in enumerate(value) for misfit in misfits(each, of, f"{where}[{number}]")]
    if is_dataclass(kind):
        if not isinstance(value, dict):
            return [f"{where}: no mapping"]
        hints = get_type_hints(kind, vars(sys.modules[kind.__module__]))
        known = {field.name for field in fields(kind)}
        unknown = [f"{where}.{key}" for key in value if key not in known | extra]
        inner = [misfits(each, hints[key], f"{where}.{key}") for key, each in value.items() if key in known]
        return [*unknown, *(misfit for found in inner for misfit in found)]
    if isinstance(kind, type) and issubclass(kind, Enum):
        return [] if value in {member.value for member in kind} else [f"{where}: {value}"]
    return [] if isinstance(value, kind) else [f"{where}: {value!r} is no {kind.__name__}"]


@pytest.mark.parametrize("target", TARGETS)
def test_the_resources_of_the_bundle_are_those_of_the_sdk(bundle: dict[str, Any], target: str) -> None:
    """Every key and value matches, so that a misspelt one is found before a deployment."""
    for kind, named in of_target(bundle, target).items():
        made_of, extra = KINDS[kind]
        for name, value in named.items():
            assert misfits(value, made_of, f"{kind}.{name}", extra) == []


def test_a_misspelt_key_is_found() -> None:
    """The test above would find it."""
    wrong = {"name": "a", "resources": [{"name": "b", "postgres": {"brunch": "c", "permission": "CAN_CONNECT"}}]}
    assert misfits(wrong, App, "app") == [
        "app.resources[0].postgres.brunch",
        "app.resources[0].postgres.permission: CAN_CONNECT",
    ]
    assert misfits({"pg_version": "17"}, ProjectSpec, "project") == ["project.pg_version: '17' is no int"]


def test_the_bundle_is_whole(bundle: dict[str, Any]) -> None:
    """It has only known keys, one default target, and no dangling references."""
    assert set(bundle) == BUNDLE
    assert set(bundle["sync"]) == {"include", "exclude"}
    assert list(bundle["targets"]) == TARGETS
    defaults = [name for name, target in bundle["targets"].items() if target.get("default")]
    assert defaults == ["autoscaling"]
    for name, variable in bundle["variables"].items():
        assert set(variable) == {"description", "default"}, name
    used = set()
    for target in TARGETS:
        resources = of_target(bundle, target)
        for reference in re.findall(r"\$\{([^}]*)\}", yaml.safe_dump(resources)):
            kind, *path = reference.split(".")
            if kind == "var":
                used.add(path[0])
            else:
                assert kind == "resources"
                assert path[1] in resources[path[0]], reference
    assert used == set(bundle["variables"])


def test_graphiqls_files_are_deployed(bundle: dict[str, Any]) -> None:
    """Git ignores them, so the bundle has to name where they are."""
    assert bundle["sync"]["include"] == [f"{(STATIC / 'vendor').relative_to(ROOT)}/**"]


@pytest.mark.parametrize(("target", "key"), [("autoscaling", "postgres"), ("provisioned", "database")])
def test_the_app_is_given_its_database(bundle: dict[str, Any], target: str, key: str) -> None:
    """It has one database resource, with the permission to create its own schema."""
    (app,) = of_target(bundle, target)["apps"].values()
    (resource,) = app["resources"]
    assert (resource["name"], resource[key]["permission"]) == (key, "CAN_CONNECT_AND_CREATE")
    assert (ROOT / app["source_code_path"] / "app.yaml").exists()


@pytest.mark.parametrize(
    ("target", "kind"), [("autoscaling", "postgres_projects"), ("provisioned", "database_instances")]
)
def test_no_destroy_of_the_bundle_deletes_the_status_changes(bundle: dict[str, Any], target: str, kind: str) -> None:
    """The database is protected, and one that is deleted after all is not purged."""
    (database,) = of_target(bundle, target)[kind].values()
    assert database["lifecycle"] == {"prevent_destroy": True}
    assert "purge_on_delete" not in database


def test_the_command_is_the_servers_own(app: dict[str, Any]) -> None:
    """It has only documented keys, and no shell, which would get SIGTERM instead of the server."""
    assert set(app) == {"command", "env"}
    assert app["command"] == ["python", "-m", "server"]
    for variable in app["env"]:
        assert set(variable) in ({"name", "value"}, {"name", "valueFrom"})
        assert all(isinstance(text, str) for text in variable.values())


def test_every_requested_resource_exists(app: dict[str, Any], bundle: dict[str, Any]) -> None:
    """Each `valueFrom` is the name of a resource of the app."""
    (deployed,) = of_target(bundle, "autoscaling")["apps"].values()
    given = {resource["name"] for resource in deployed["resources"]}
    requested = {variable["valueFrom"] for variable in app["env"] if "valueFrom" in variable}
    assert requested == given


def test_every_variable_is_a_setting(app: dict[str, Any]) -> None:
    """Each setting comes once and none is misspelt, also in commented-out lines."""
    names = [variable["name"] for variable in app["env"]]
    assert len(set(names)) == len(names)
    commented = re.findall(r"^ *# *- name: (\S+)", (ROOT / "app.yaml").read_text(), re.MULTILINE)
    assert commented
    known = {name.upper() for name in Settings.model_fields}
    assert {*names, *commented} <= known


def test_the_app_starts_with_its_environment(
    app: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With the platform's variables they are valid settings, and have the intended values."""
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in PLATFORM.items():
        monkeypatch.setenv(name, value)
    for variable in app["env"]:
        monkeypatch.setenv(variable["name"], variable.get("value", ENDPOINT))
    settings = load_settings()
    assert (settings.host, settings.port, settings.auth_mode) == ("0.0.0.0", 8000, "databricks-app")  # type: ignore[comparison-overlap, unused-ignore] # noqa: S104 # the platform's proxy is in front


def test_the_python_and_the_packages_are_pinned() -> None:
    """The platform installs requirements.txt over older packages of its own, which would replace unpinned ones."""
    assert pins(ROOT / "requirements.txt")
    assert "Python 3.11" in (ROOT / "requirements.txt").read_text()
