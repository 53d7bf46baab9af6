"""The requests that the local Postgres API refuses, each before anything is done."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx
import pytest

if TYPE_CHECKING:
    from tests.servers.platform import LocalPlatform

POSTGRES = "/api/2.0/postgres"
ROOT = "projects/kept/branches/production"
PRIMARY = f"{ROOT}/endpoints/primary"
FOREVER = {"no_expiry": True}
READ_ONLY = {"endpoint_type": "ENDPOINT_TYPE_READ_ONLY"}
INVALID, BAD = "INVALID_PARAMETER_VALUE", "BAD_REQUEST"


def ahead(**time: float) -> str:
    """A time in the future, as JSON."""
    return (datetime.now(UTC) + timedelta(**time)).isoformat()


def spec(**fields: Any) -> dict[str, Any]:
    """A body with this spec."""
    return {"spec": fields}


@pytest.mark.parametrize(
    ("method", "path", "body", "code"),
    [
        ("POST", "projects", {}, INVALID),
        ("POST", "projects?project_id=Capital", {}, INVALID),
        ("POST", f"projects?project_id={'x' * 64}", {}, INVALID),
        ("POST", "projects?project_id=a%2Fb", {}, INVALID),
        ("POST", "projects?project_id=new", spec(pg_version=99), INVALID),
        ("POST", "projects?project_id=new", spec(display_name=""), INVALID),
        ("POST", "projects?project_id=new", spec(history_retention_duration="3600s"), INVALID),
        ("POST", "projects?project_id=new", spec(history_retention_duration="3024001s"), INVALID),
        ("POST", "projects?project_id=new", {"initial_endpoint_spec": {"autoscaling_limit_max_cu": 65}}, INVALID),
        ("POST", "projects?project_id=new", {"initial_endpoint_spec": {"group": {"min": 1, "max": 2}}}, INVALID),
        ("POST", "projects?project_id=new", {"initial_endpoint_spec": {"no_suspension": False}}, INVALID),
        ("POST", "projects?project_id=new", spec(display_name=7), "MALFORMED_REQUEST"),
        ("POST", "projects?project_id=kept", {}, "ALREADY_EXISTS"),
        ("PATCH", "projects/kept?update_mask=spec.displayName", spec(custom_tags=[]), INVALID),
        ("PATCH", "projects/kept?update_mask=spec.pg_version", spec(pg_version=16), INVALID),
        ("PATCH", "projects/kept?update_mask=display_name", spec(display_name="x"), INVALID),
        ("PATCH", "projects/kept?update_mask=spec.default_branch", spec(default_branch="production"), INVALID),
        ("POST", "projects/kept/branches?branch_id=new", spec(), INVALID),
        ("POST", "projects/kept/branches?branch_id=new", spec(no_expiry=True, ttl="3600s"), INVALID),
        ("POST", "projects/kept/branches?branch_id=new", spec(no_expiry=False), INVALID),
        ("POST", "projects/kept/branches?branch_id=new", spec(ttl="2592001s"), INVALID),
        ("POST", "projects/kept/branches?branch_id=new", spec(ttl="0s"), INVALID),
        ("POST", "projects/kept/branches?branch_id=new", spec(expire_time="2020-01-01T00:00:00Z"), INVALID),
        ("POST", "projects/kept/branches?branch_id=new", spec(expire_time=ahead(days=31)), INVALID),
        ("POST", "projects/kept/branches?branch_id=New", spec(**FOREVER), INVALID),
        ("POST", "projects/kept/branches?branch_id=new", spec(**FOREVER, source_branch="production"), INVALID),
        ("POST", "projects/kept/branches?branch_id=new", spec(**FOREVER, source_branch_time=ahead(hours=1)), INVALID),
        ("POST", "projects/kept/branches?branch_id=new", spec(**FOREVER, source_branch_lsn="here"), INVALID),
        ("POST", "projects/kept/branches?branch_id=new", spec(**FOREVER, source_branch_lsn="0/1"), INVALID),
        (
            "POST",
            "projects/kept/branches?branch_id=new",
            spec(**FOREVER, source_snapshot="projects/kept/snapshots/none", source_branch=ROOT),
            INVALID,
        ),
        (
            "POST",
            "projects/kept/branches?branch_id=new",
            spec(**FOREVER, source_snapshot="projects/kept/snapshots/none"),
            "NOT_FOUND",
        ),
        ("POST", "projects/none/branches?branch_id=new", spec(**FOREVER), "NOT_FOUND"),
        ("PATCH", f"{ROOT}?update_mask=spec.ttl", spec(ttl="3600s"), INVALID),
        ("POST", f"{ROOT}/undelete", {}, BAD),
        ("POST", f"{ROOT}/endpoints?endpoint_id=new", spec(), INVALID),
        ("POST", f"{ROOT}/endpoints?endpoint_id=NEW", spec(**READ_ONLY), INVALID),
        ("POST", f"{ROOT}/endpoints?endpoint_id=new", spec(**READ_ONLY, autoscaling_limit_min_cu=0.25), INVALID),
        (
            "POST",
            f"{ROOT}/endpoints?endpoint_id=new",
            spec(**READ_ONLY, autoscaling_limit_min_cu=4, autoscaling_limit_max_cu=2),
            INVALID,
        ),
        ("PATCH", f"{PRIMARY}?update_mask=spec.autoscalingLimitMaxCu", spec(autoscaling_limit_max_cu=18), INVALID),
        ("PATCH", f"{PRIMARY}?update_mask=spec.suspension", spec(suspend_timeout_duration="59s"), INVALID),
        ("PATCH", f"{PRIMARY}?update_mask=spec.suspension", spec(suspend_timeout_duration="604801s"), INVALID),
        ("PATCH", f"{PRIMARY}?update_mask=spec.no_suspension", spec(no_suspension=True), INVALID),
        ("PATCH", f"{PRIMARY}?update_mask=spec.endpoint_type", spec(**READ_ONLY), INVALID),
        (
            "PATCH",
            f"{PRIMARY}?update_mask=spec.settings.pg_settings",
            spec(settings={"pg_settings": {"a b": "1"}}),
            INVALID,
        ),
        ("DELETE", PRIMARY, None, BAD),
        ("DELETE", ROOT, None, BAD),
        ("POST", "projects/kept/snapshots?snapshot_id=new", spec(**FOREVER), INVALID),
        ("POST", "projects/kept/snapshots?snapshot_id=new", spec(source_branch=ROOT), INVALID),
        ("POST", f"{ROOT}/roles?role_id=abc", spec(postgres_role="app"), INVALID),
        ("POST", f"{ROOT}/roles?role_id=9abcd", spec(postgres_role="app"), INVALID),
        ("POST", f"{ROOT}/roles?role_id=app-role", spec(postgres_role="pg_app"), INVALID),
        ("DELETE", f"{ROOT}/roles/none", None, "NOT_FOUND"),
        ("POST", f"{ROOT}/databases", spec(role=f"{ROOT}/roles/none", postgres_database="new"), "NOT_FOUND"),
        ("DELETE", f"{ROOT}/databases/none", None, "NOT_FOUND"),
        ("POST", "catalogs?catalog_id=new", spec(postgres_database="orders", branch="production"), INVALID),
        ("POST", "catalogs?catalog_id=main", spec(postgres_database="orders", branch=ROOT), "ALREADY_EXISTS"),
        ("POST", "synced_tables", spec(), INVALID),
        ("GET", "projects?show_deleted=perhaps", None, INVALID),
    ],
)
def test_a_bad_request_is_refused_and_changes_nothing(
    platform: LocalPlatform, project: str, method: str, path: str, body: Any, code: str
) -> None:
    """The error has the platform's code, a message, and the status that belongs to both."""
    before = platform.inventory(), project
    headers = {"authorization": f"Bearer {platform.token}"}
    reply = httpx.request(method, f"{platform.host}{POSTGRES}/{path}", json=body, headers=headers)
    assert reply.json()["error_code"] == code, reply.text
    assert reply.json()["message"]
    assert reply.status_code == {"NOT_FOUND": 404, "ALREADY_EXISTS": 409}.get(code, 400)
    assert (platform.inventory(), project) == before
