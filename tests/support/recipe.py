"""The table of the cookbook's recipe: its features, the weakness of each, and the tests of our counterpart.

`python -m tests.support.recipe` prints it as Markdown.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

_STATUS = "tests/blackbox/changes/test_concurrent_writes.py"
_ADMIN = "tests/blackbox/lakebase/test_bad_admin.py"
_PLANS = "tests/blackbox/lakebase/test_bad_admin_plans.py"
_CALLERS = "tests/blackbox/lakebase/test_admin_callers.py"
_FAULTS = "tests/blackbox/lakebase/test_admin_faults.py"
_KILLS = "tests/blackbox/lakebase/test_admin_kills.py"
_LIFE = "tests/blackbox/lakebase/test_provisioning.py"
_LOGINS = "tests/blackbox/lakebase/test_logins.py"
_REST = "tests/blackbox/lakebase/test_at_rest.py"
_START = "tests/blackbox/process/test_start.py"
_HTTP = "tests/blackbox/http/test_http.py"
_INPUTS = "tests/blackbox/graphql/test_bad_arguments.py"
_LOST = "tests/blackbox/changes/test_nothing_lost.py"
_AGGREGATES = "tests/server/orders/test_aggregates.py"
_PAGING = "tests/server/orders/test_paging.py"


@dataclass(frozen=True, slots=True)
class Row:
    """A feature of the recipe, by its number. The tests have the form file::function."""

    number: str
    feature: str
    weakness: str
    counterpart: str
    tests: tuple[str, ...]


RECIPE = (
    Row(
        "1",
        "GET /orders/count",
        "Counts the whole table each time.",
        "`orderCount`: one count for all requests within seconds; `precision: ESTIMATED` counts nothing.",
        (
            f"{_AGGREGATES}::test_a_count_is_exact_with_any_filter",
            f"{_AGGREGATES}::test_a_count_of_everything_is_computed_once_for_all_who_ask",
            f"{_AGGREGATES}::test_an_estimate_is_near_and_costs_no_count",
        ),
    ),
    Row(
        "2",
        "GET /orders/sample",
        "The first five, not random ones.",
        "`orderSample`: each order is equally likely, without reading the table.",
        (
            f"{_AGGREGATES}::test_a_sample_is_uniform_over_rows",
            f"{_AGGREGATES}::test_a_sample_does_not_read_the_table",
        ),
    ),
    Row(
        "3",
        "GET /orders/pages",
        "A deep OFFSET; the previous cursor is a guess.",
        "`orders` and `ordersPage`: every page costs as much as the first, and paging back is exact.",
        (
            "tests/server/orders/test_query_plans.py::test_a_page_is_an_index_scan_that_stops",
            f"{_PAGING}::test_walking_forward_is_walking_backward_reversed",
            f"{_PAGING}::test_a_numbered_page_is_a_slice_of_plain_sql",
            f"{_INPUTS}::test_a_bad_page_number_is_refused",
        ),
    ),
    Row(
        "4",
        "GET /orders/stream (keyset pages)",
        "The previous cursor is wrong if keys have gaps; keys start at 0.",
        "Opaque cursors in both directions, on keys with gaps, in any of four orders.",
        (
            f"{_PAGING}::test_a_walk_gives_at_each_step_what_plain_sql_gives",
            f"{_PAGING}::test_walking_forward_is_walking_backward_reversed",
        ),
    ),
    Row(
        "5",
        "GET /orders/{order_key}",
        "None known.",
        "`order`, `node` and `nodes`: a missing order is null, a bad id has a reason, and many are one statement.",
        (
            f"{_INPUTS}::test_what_is_not_found_is_null_without_an_error",
            f"{_INPUTS}::test_a_bad_global_id_is_null_with_a_reason",
            "tests/server/orders/test_statements.py::test_all_single_orders_of_a_request_are_one_statement",
        ),
    ),
    Row(
        "6",
        "POST /orders/{key}/status",
        "Takes any text, checks no version, applies repetitions twice, leaves no trace, and writes into the synced table.",
        "`setOrderStatus`: an enum, a compare-and-set, an idempotency key, a history; no sync undoes it.",
        (
            "tests/blackbox/changes/test_bad_changes.py::test_an_unknown_status_is_refused_in_a_variable_too",
            f"{_STATUS}::test_of_many_writers_that_expect_one_version_one_wins",
            f"{_STATUS}::test_a_key_that_many_send_at_once_is_used_once",
            "tests/blackbox/changes/test_migrations.py::test_the_history_is_append_only",
            f"{_LOST}::test_a_synced_table_that_is_replaced_under_the_writers_loses_nothing",
        ),
    ),
    Row(
        "7",
        "POST /resources/create-lakebase-resources",
        "A query string creates resources, and the caller's role is not checked.",
        "`provisionLakebase`: an audited mutation for administrators, only with `acknowledgeCost: true`.",
        (
            f"{_CALLERS}::test_a_caller_without_the_role_is_refused_and_audited",
            f"{_PLANS}::test_what_costs_has_to_be_acknowledged",
            f"{_ADMIN}::test_an_impossible_setting_is_refused",
            f"{_LIFE}::test_every_privileged_action_leaves_an_audit_row",
            f"{_CALLERS}::test_nothing_is_administered_by_get",
        ),
    ),
    Row(
        "7a",
        "An instance that exists",
        "Ends the request: catalog and table are never created.",
        "Each step looks, does what is missing and looks again, so an interrupted operation continues.",
        (
            f"{_LIFE}::test_provisioning_again_finds_everything",
            f"{_KILLS}::test_a_successor_resumes_after_a_kill",
            f"{_KILLS}::test_a_successor_resumes_within_ten_seconds_of_a_kill",
            f"{_PLANS}::test_a_name_taken_by_a_different_resource_is_a_conflict",
        ),
    ),
    Row(
        "7b",
        "Creation of the instance",
        "Blocks all requests for up to 20 minutes, although the proxy cuts after 120 s.",
        "An operation is returned at once and watched; every admin field has a deadline.",
        (
            f"{_PLANS}::test_a_conflicting_operation_is_named",
            "tests/schema/admin/test_administration.py::test_no_field_waits_for_ever",
            f"{_LIFE}::test_a_refresh_loses_no_status_and_restores_indexes_and_grants",
        ),
    ),
    Row(
        "7c",
        "A superuser role for the caller",
        "More rights than needed, and a service principal treated as a user.",
        "No role is created.",
        (f"{_REST}::test_provisioning_makes_one_of_each_and_no_role",),
    ),
    Row(
        "7d",
        "The catalog",
        "Its default name has hyphens, which are not allowed in a catalog's name.",
        "Names are checked before anything is sent, including those in the settings.",
        (
            "tests/schema/admin/test_inputs.py::test_a_bad_name_is_never_sent",
            "tests/schema/admin/test_inputs.py::test_a_configured_name_is_checked_too",
            f"{_ADMIN}::test_a_bad_name_is_refused",
        ),
    ),
    Row(
        "7e",
        "The synced table",
        "Reads a missing attribute, so the pipeline is never reported.",
        "`SyncedTable`: state, rows, pipeline and its page, read from the platform; the source is checked first.",
        (
            f"{_LIFE}::test_a_server_that_found_nothing_serves_orders_after_provisioning",
            "tests/schema/admin/test_administration.py::test_everything_is_told_of_a_synced_table",
            f"{_PLANS}::test_what_a_request_needs_has_to_exist",
        ),
    ),
    Row(
        "7f",
        "The reply: names, pipeline, a link",
        "None known.",
        "The payload: the operation, the plan, and the current resource.",
        (
            "tests/schema/admin/test_administration.py::test_a_mutation_answers_with_its_operation_and_what_is_there",
            "tests/schema/admin/test_administration.py::test_a_dry_run_answers_with_the_plan",
        ),
    ),
    Row(
        "8",
        "DELETE /resources/delete-lakebase-resources",
        "Shows the SDK's raw errors, leaves table and pipeline behind, and fails if a resource is already gone.",
        "`teardownLakebase`: reasons of our own, nothing left behind, and a missing resource counts as deleted; statuses are deleted only on request.",
        (
            f"{_FAULTS}::test_every_fault_at_every_call_ends_in_what_was_asked_for",
            f"{_LIFE}::test_a_teardown_needs_the_status_changes_to_be_discarded",
            f"{_LIFE}::test_a_recreated_table_has_its_statuses_indexes_and_grants",
            f"{_PLANS}::test_deleting_what_does_not_exist_begins_nothing",
            f"{_PLANS}::test_nothing_is_deleted_without_confirmation",
            f"{_KILLS}::test_a_namesake_created_meanwhile_is_not_deleted",
        ),
    ),
    Row(
        "9",
        "GET /healthcheck",
        "None known.",
        "`/livez`: whether the process responds.",
        (f"{_HTTP}::test_probes_are_cheap_and_not_logged",),
    ),
    Row(
        "10",
        "Health of the database",
        "None known.",
        "`/readyz`: whether orders can be served, and if not, why; it costs the database nothing.",
        (
            f"{_START}::test_a_missing_table_does_not_stop_the_start",
            "tests/server/tables/test_readiness.py::test_it_looks_until_all_is_well",
        ),
    ),
    Row(
        "13",
        "X-Process-Time and a line of the log",
        "None known.",
        "`Server-Timing`, a request id, and one JSON log line per request.",
        (f"{_HTTP}::test_every_answer_says_its_request_id_and_time",),
    ),
    Row(
        "14",
        "Exception handlers: 500, 503, 504",
        "None known.",
        "Each failure has a reason and a status, and its cause appears only in the log.",
        (
            f"{_START}::test_a_database_that_is_absent_does_not_stop_the_start",
            f"{_START}::test_a_slow_filter_is_stopped_and_says_why",
            "tests/server/http/test_error_response.py::test_an_exception_of_a_resolver_is_masked",
        ),
    ),
    Row(
        "15",
        "Lifespan: a check, an engine, `create_all`, tasks",
        "May create the orders table before the sync does, which then fails.",
        "Only our own tables are created, in a schema of their own; the start waits for nothing.",
        (
            f"{_LIFE}::test_a_server_that_found_nothing_serves_orders_after_provisioning",
            f"{_REST}::test_a_platform_that_is_down_does_not_stop_the_start",
            "tests/blackbox/changes/test_migrations.py::test_several_processes_may_start_at_once",
        ),
    ),
    Row(
        "16",
        "Routes only where the instance exists at import",
        "Needs a restart after creation.",
        "The schema is always complete; orders are served as soon as they exist.",
        (
            f"{_LIFE}::test_a_server_that_found_nothing_serves_orders_after_provisioning",
            f"{_START}::test_a_missing_table_does_not_stop_the_start",
        ),
    ),
    Row(
        "17",
        "Token refresh every 50 minutes",
        "Only if the database existed at the start.",
        "Every login uses a valid token, fetched when needed and shared by many connections.",
        (
            "tests/blackbox/lakebase/test_tokens.py::test_no_request_fails_while_tokens_end",
            f"{_LOGINS}::test_a_token_is_refused_after_its_end",
            f"{_LOGINS}::test_orders_are_served_long_after_the_first_token_has_ended",
        ),
    ),
    Row(
        "18",
        "Pool settings",
        "Connections are not checked before use.",
        "A pool for each kind of work, with a deadline; late requests are refused soon, and dead connections discarded.",
        (
            f"{_START}::test_a_pool_in_full_use_refuses_soon",
            f"{_START}::test_a_restart_of_postgresql_is_survived",
            "tests/blackbox/db/test_database_failures.py::test_all_backends_ended_at_once_are_not_noticed_by_readers",
            f"{_START}::test_an_sslmode_that_the_server_cannot_meet_is_unavailable",
            f"{_LOGINS}::test_a_sleeping_instance_is_woken_by_the_next_request",
        ),
    ),
    Row(
        "19",
        "The database's default name",
        "One is created, and another is served.",
        "One setting names both.",
        (
            f"{_LIFE}::test_a_server_that_found_nothing_serves_orders_after_provisioning",
            f"{_REST}::test_the_database_that_is_provisioned_is_the_one_that_is_served",
        ),
    ),
    Row(
        "20",
        "A health query every 300 s",
        "Keeps the database from ever falling asleep.",
        "The server does not query the database while all is well.",
        (
            f"{_REST}::test_an_idle_server_lets_its_instance_fall_asleep",
            "tests/server/tables/test_readiness.py::test_it_does_not_look_while_all_is_well_and_looks_again_when_not",
        ),
    ),
    Row(
        "21",
        "Graceful stop",
        "The engine is never disposed.",
        "Pools are closed, leases released, and subscribers told to reconnect; exit code 0.",
        (
            f"{_START}::test_a_stop_leaves_no_backend",
            f"{_START}::test_a_signal_stops_it_cleanly",
            "tests/server/lakebase/operations/test_store.py::test_a_lease_that_is_let_go_of_is_taken_up_at_once",
        ),
    ),
    Row(
        "22",
        "Settings from the environment and `.env`",
        "None known.",
        "The same, checked at the start: all mistakes are listed at once. Their table in the README is generated.",
        (
            f"{_START}::test_every_wrong_setting_is_named_at_once_and_the_exit_code_is_2",
            "tests/server/settings/test_settings.py::test_the_settings_table_stands_in_the_readme",
        ),
    ),
)


def markdown() -> str:
    """The table in Markdown."""
    lines = ["| # | the recipe | its weakness | here | shown by |", "| --- | --- | --- | --- | --- |"]
    for row in RECIPE:
        shown = "<br>".join(f"`{test}`" for test in row.tests)
        lines.append(f"| {row.number} | {row.feature} | {row.weakness} | {row.counterpart} | {shown} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(f"{markdown()}\n")
