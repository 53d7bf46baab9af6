"""The local platform's roles and databases by the Postgres API, which live in PostgreSQL and are copied with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from databricks.sdk.errors import BadRequest, InvalidParameterValue, NotFound
from databricks.sdk.service.postgres import (
    Database,
    DatabaseDatabaseSpec,
    Role,
    RoleAttributes,
    RoleAuthMethod,
    RoleIdentityType,
    RoleMembershipRole,
    RoleRoleSpec,
)

from tests.local.parts import branched, connected, done, failure, mask

if TYPE_CHECKING:
    from databricks.sdk import WorkspaceClient

    from tests.servers.platform import LocalPlatform

SUPERUSER = RoleMembershipRole.DATABRICKS_SUPERUSER


async def test_a_role_is_created_changed_and_deleted_with_what_it_owns_given_away(
    platform: LocalPlatform, workspace: WorkspaceClient, project: str
) -> None:
    """A taken name is a BAD_REQUEST. Memberships are replaced as a whole, and single attributes can be changed."""
    postgres, branch = workspace.postgres, f"{project}/branches/production"
    spec = RoleRoleSpec(
        postgres_role="9f-app", identity_type=RoleIdentityType.SERVICE_PRINCIPAL, membership_roles=[SUPERUSER]
    )
    name = done(platform, postgres.create_role(branch, Role(spec=spec), role_id="app-role"))["name"]
    made = postgres.get_role(name).status
    assert made is not None
    assert (made.auth_method, made.membership_roles) == (RoleAuthMethod.LAKEBASE_OAUTH_V1, [SUPERUSER])
    with pytest.raises(BadRequest, match="already exists"):
        postgres.create_role(branch, Role(spec=spec), role_id="app-role")
    partly = Role(spec=RoleRoleSpec(attributes=RoleAttributes(createdb=True, createrole=True)))
    done(platform, postgres.update_role(name, partly, mask("spec.attributes.createdb")))
    changed = postgres.get_role(name).status
    assert changed is not None
    assert (changed.attributes, changed.membership_roles) == (RoleAttributes(False, True, False), [SUPERUSER])
    plain = Role(spec=RoleRoleSpec(postgres_role="9f-app", identity_type=RoleIdentityType.SERVICE_PRINCIPAL))
    done(platform, postgres.create_role(branch, plain, role_id="app-role", replace_existing=True))
    changed = postgres.get_role(name).status
    assert changed is not None
    assert (changed.attributes, changed.membership_roles) == (RoleAttributes(False, False, False), None)
    connection = await connected(platform, branch)
    await connection.execute('CREATE SCHEMA granted; GRANT CREATE ON SCHEMA granted TO "9f-app"')
    await connection.close()
    code, message = failure(platform, postgres.delete_role(name))
    assert (code, "still owns objects" in message) == ("BAD_REQUEST", True)
    (mine,) = (one for one in postgres.list_roles(branch) if one.status and one.status.postgres_role == platform.user)
    done(platform, postgres.delete_role(name, reassign_owned_to=mine.name))
    with pytest.raises(NotFound):
        postgres.get_role(name)


async def test_a_database_has_an_owner_and_can_be_renamed(
    platform: LocalPlatform, workspace: WorkspaceClient, project: str
) -> None:
    """Its id stays, also on a branch. While somebody is connected to it, its deletion fails."""
    postgres, branch = workspace.postgres, f"{project}/branches/production"
    role = done(platform, postgres.create_role(branch, Role(spec=RoleRoleSpec(postgres_role="owner")), role_id="owner"))
    spec = DatabaseDatabaseSpec(role=role["name"], postgres_database="shop")
    name = done(platform, postgres.create_database(branch, Database(spec=spec), database_id="shop"))["name"]
    with pytest.raises(BadRequest, match="already exists"):
        postgres.create_database(branch, Database(spec=spec), database_id="shop")
    with pytest.raises(InvalidParameterValue, match="role"):
        postgres.create_database(branch, Database(spec=DatabaseDatabaseSpec(role="", postgres_database="x")))
    renamed = Database(spec=DatabaseDatabaseSpec(role=role["name"], postgres_database="store"))
    done(platform, postgres.update_database(name, renamed, mask("spec.postgresDatabase")))
    status = postgres.get_database(name).status
    assert status is not None
    assert (status.database_id, status.postgres_database, status.role) == ("shop", "store", role["name"])
    # A database that the API did not create has an id too, and is found by its name.
    assert postgres.get_database(f"{branch}/databases/databricks_postgres").database_id == "databricks-postgres"
    copy = branched(platform, project, "with-databases")
    assert {one.database_id for one in postgres.list_databases(copy)} >= {"databricks-postgres", "shop"}
    assert {one.role_id for one in postgres.list_roles(copy)} >= {"owner"}
    connection = await connected(platform, branch, database="store")
    code, message = failure(platform, postgres.delete_database(name))
    assert (code, "in use" in message) == ("BAD_REQUEST", True)
    await connection.close()
    done(platform, postgres.delete_database(name))
    done(platform, postgres.delete_role(role["name"]))
    assert postgres.get_database(f"{copy}/databases/shop")
    done(platform, postgres.delete_branch(copy, purge=True))
