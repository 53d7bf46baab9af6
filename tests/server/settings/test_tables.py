"""The setting TABLES: which tables are served beside the orders, and what is wrong with it."""

from __future__ import annotations

import pytest

from schema.graph import TABLES
from server.lakebase.assembly import configured_names
from server.settings import Settings, SettingsError, load_settings

NAMES = ", ".join(TABLES)


def loaded(monkeypatch: pytest.MonkeyPatch, tables: str, **settings: str) -> Settings:
    """The settings of an environment with this value of TABLES."""
    given = {"LAKEBASE_INSTANCE_NAME": "orders-pg", "LAKEBASE_CATALOG_NAME": "shop", "TABLES": tables, **settings}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    return load_settings()


@pytest.mark.parametrize(
    ("tables", "understood"),
    [
        ("", {}),
        ("customers=public.customer_synced", {"customers": "public.customer_synced"}),
        (
            " nations = tpch.Nation , regions=region_synced,",
            {"nations": "tpch.Nation", "regions": "public.region_synced"},
        ),
    ],
)
def test_tables_are_named_with_their_schemas(
    monkeypatch: pytest.MonkeyPatch, tables: str, understood: dict[str, str]
) -> None:
    """One without a schema is in `public`, as the orders table may be. None is the default."""
    assert loaded(monkeypatch, tables).tables == understood
    assert Settings.model_fields["tables"].get_default(call_default_factory=True) == {}


@pytest.mark.parametrize(
    ("tables", "told"),
    [
        ("public.sesame", "entry 1 is not name=table, such as customers=public.customer_synced"),
        ("regions=a.b,sesame=public.s", f"the name in entry 2 is not one of {NAMES}"),
        ("orders=public.s", f"the name in entry 1 is not one of {NAMES}"),
        ("nations=a.b,nations=a.c", "nations is there twice"),
        ("nations=", "the table of nations is neither schema.table nor a table in public"),
        ("nations=a.b.sesame", "the table of nations is neither schema.table nor a table in public"),
        ("nations=a.b;sesame", "the table of nations is neither schema.table nor a table in public"),
        ("nations=tpch.n,regions=TPCH.N", "regions has the same table as nations"),
        ("nations=Orders_Synced", "nations has the same table as ORDERS_TABLE"),
    ],
)
def test_a_mistake_is_told_with_the_names_that_there_are(
    monkeypatch: pytest.MonkeyPatch, tables: str, told: str
) -> None:
    """At the start. What is not a name of a table is not repeated: it may be a secret in the wrong place."""
    with pytest.raises(SettingsError) as refused:
        loaded(monkeypatch, tables)
    assert f"TABLES: {told}" in str(refused.value)
    assert "sesame" not in str(refused.value)


def test_all_mistakes_are_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """One in each line."""
    with pytest.raises(SettingsError) as refused:
        loaded(monkeypatch, "x,y=a.b,regions=a b")
    assert len(str(refused.value).splitlines()) == 4


def test_the_synced_table_of_each_is_in_the_configured_catalog(monkeypatch: pytest.MonkeyPatch) -> None:
    """That of the orders comes first. Without a catalog, or if another project is served, there are none."""
    tables = "nations=nation_synced,regions=tpch.region"
    configured = configured_names(loaded(monkeypatch, tables))
    assert configured.table_names == ("shop.public.orders_synced", "shop.public.nation_synced", "shop.tpch.region")
    assert [one.table for one in configured.others] == [TABLES["nations"], TABLES["regions"]]
    elsewhere = {"LAKEBASE_ENDPOINT": "projects/others/branches/production/endpoints/primary"}
    assert configured_names(loaded(monkeypatch, tables, **elsewhere)).table_names == ()
