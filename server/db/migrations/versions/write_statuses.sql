-- Makes status changes and records their outcome. The server calls it as one statement in autocommit mode, so that no
-- lock ever waits for the server: PostgreSQL releases all of them at the end of the statement.
--
-- It claims the idempotency key, locks the overlay's rows of a list, reads the synced statuses, decides, changes the
-- overlay, records the outcome, and inserts the changes last. Their trigger draws the feed's ids under a lock that all
-- writers share, so that this lock is held for as short as possible.
--
-- The decisions are those of the model in tests/server/changes/test_status_machine.py.
--
-- Parameters:
--   caller, idempotency_key, input_hash: who asks, the key (or null), and the hash of the input.
--   key_lifetime: how long a key and its outcome are kept.
--   orders: the synced table, quoted.
--   all_or_none: whether one refusal prevents all changes.
--   order_keys: the orders, each at most once. The other arrays have an element for each of them:
--   new_statuses (null goes back to the synced status), expected_statuses and expected_versions (null expects nothing),
--   and change_notes.
--
-- The result is one row:
--   verdict: WRITTEN; RECORDED if the key has been used with this input; KEY_REUSED if it has been used with another.
--   outcomes: for each order its key, the status before, the version after the change (null without one), a refusal
--   (null without one: reason, message, field, status, version), and other refusals. It is kept under the key.
--   changed, ids, synced: the orders that were changed, sorted, with the ids of the changes and the synced statuses.
--   changed_at: the time of the changes; null without any.
--
-- Errors: LO001 the synced table is empty; LO002 it is locked; 55P03 another transaction holds an order or the key.
CREATE OR REPLACE FUNCTION {schema}.write_statuses(
    caller text,
    idempotency_key uuid,
    input_hash bytea,
    key_lifetime interval,
    orders text,
    all_or_none boolean,
    order_keys bigint[],
    new_statuses text[],
    expected_statuses text[],
    expected_versions integer[],
    change_notes text[],
    OUT verdict text,
    OUT outcomes text,
    OUT changed bigint[],
    OUT ids bigint[],
    OUT synced text[],
    OUT changed_at timestamptz
) LANGUAGE plpgsql
-- Planning the decision anew for each call would take ten times as long as making it. Whatever the sizes of the tables
-- were when it was planned, the few rows of a request are found by their keys.
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $function$
DECLARE
    used_hash bytea;
    synced_found boolean[];
    synced_statuses text[];
    any_order boolean;
    statuses_after text[];
    statuses_before text[];
    clears boolean[];
    new_versions integer[];
    notes text[];
    written integer;
BEGIN
    -- If another transaction holds the key, this waits until that one has recorded its outcome or has rolled back.
    IF idempotency_key IS NOT NULL THEN
        INSERT INTO {schema}.idempotency AS i (principal, key, request_hash)
        VALUES (caller, idempotency_key, input_hash)
        ON CONFLICT (principal, key) DO UPDATE
            SET request_hash = excluded.request_hash, outcome = NULL, created_at = now()
            WHERE i.created_at < now() - key_lifetime;
        IF NOT FOUND THEN
            SELECT i.request_hash, i.outcome INTO used_hash, outcomes
            FROM {schema}.idempotency AS i WHERE i.principal = caller AND i.key = idempotency_key;
            verdict := CASE WHEN used_hash = input_hash THEN 'RECORDED' ELSE 'KEY_REUSED' END;
            RETURN;
        END IF;
    END IF;

    -- A list locks its rows in the order of their keys, and inserts the missing ones: ON CONFLICT locks a row that it
    -- does not update. If a list locked its existing rows first and inserted the others later, two lists could wait for
    -- each other. Below it deletes the rows that it does not change, so no other transaction sees a row of version 0.
    IF cardinality(order_keys) > 1 THEN
        INSERT INTO {schema}.order_status AS x (o_orderkey, version, updated_by, updated_at)
        SELECT k, 0, '', now() FROM unnest(order_keys) AS k ORDER BY k
        ON CONFLICT (o_orderkey) DO UPDATE SET version = x.version WHERE false;
    END IF;

    LOOP
        -- All values are of one moment, so an empty table is never mistaken for one without these orders.
        BEGIN
            EXECUTE format(
                'SELECT array_agg(s.o_orderkey IS NOT NULL ORDER BY w.place), '
                'array_agg(CAST(s.o_orderstatus AS text) ORDER BY w.place), '
                'count(s.o_orderkey) = count(*) OR EXISTS (SELECT FROM %1$s) '
                -- At most one row for each order: a view might have more.
                'FROM unnest($1) WITH ORDINALITY AS w (key, place) LEFT JOIN LATERAL ('
                '    SELECT o_orderkey, o_orderstatus FROM %1$s WHERE o_orderkey = w.key LIMIT 1'
                ') AS s ON true',
                orders
            ) INTO synced_found, synced_statuses, any_order USING order_keys;
        EXCEPTION WHEN lock_not_available THEN
            RAISE EXCEPTION 'the synced table is locked' USING ERRCODE = 'LO002';
        END;
        IF NOT any_order THEN
            RAISE EXCEPTION 'the synced table is empty' USING ERRCODE = 'LO001';
        END IF;

        WITH wanted AS (
            SELECT w.*, coalesce(x.version, 0) AS version, x.status AS set_here,
                   coalesce(x.status, w.synced_status) AS current_status
            FROM unnest(
                order_keys, new_statuses, expected_statuses, expected_versions, change_notes, synced_found,
                synced_statuses
            ) WITH ORDINALITY AS w (
                o_orderkey, status, expected_status, expected_version, note, is_there, synced_status, place
            )
            LEFT JOIN {schema}.order_status AS x USING (o_orderkey)
        ), checked AS (
            SELECT w.*,
                   CASE WHEN NOT is_there THEN jsonb_build_array(jsonb_build_array(
                       'ORDER_NOT_FOUND', format('There is no order %s. Nothing was written.', o_orderkey),
                       NULL, NULL, NULL
                   )) ELSE
                       -- One refusal for each expectation that does not hold.
                       CASE WHEN expected_version <> version THEN jsonb_build_array(
                           {schema}.status_conflict(o_orderkey, 'expectedVersion', format('version %s', expected_version),
                                                    current_status, version)
                       ) ELSE '[]' END ||
                       CASE WHEN expected_status IS DISTINCT FROM current_status AND expected_status IS NOT NULL
                       THEN jsonb_build_array(
                           {schema}.status_conflict(o_orderkey, 'expectedStatus', {schema}.status_name(expected_status),
                                                    current_status, version)
                       ) ELSE '[]' END
                   END AS refusals,
                   CASE WHEN status IS NULL THEN set_here IS NOT NULL ELSE status IS DISTINCT FROM current_status END
                       AS differs
            FROM wanted AS w
        ), decided AS (
            SELECT c.*, differs AND refusals = '[]' AS is_possible,
                   all_or_none AND bool_or(refusals <> '[]') OVER () AS is_prevented
            FROM checked AS c
        ), outcome AS (
            SELECT d.*, is_possible AND NOT is_prevented AS changes,
                   CASE WHEN is_possible AND is_prevented THEN jsonb_build_array(jsonb_build_array(
                       'CHANGE_NOT_APPLIED', 'Another change of the list was refused, so none was made.',
                       NULL, NULL, NULL
                   )) ELSE refusals END AS reasons
            FROM decided AS d
        )
        SELECT
            coalesce(jsonb_agg(jsonb_build_object(
                'key', o_orderkey,
                'previous', CASE WHEN is_there THEN current_status END,
                'version', CASE WHEN changes THEN version + 1 END,
                'refusal', reasons->0,
                'others', reasons - 0
            ) ORDER BY place), '[]'),
            coalesce(array_agg(o_orderkey ORDER BY o_orderkey) FILTER (WHERE changes), '{}'),
            array_agg(CASE WHEN status IS NULL THEN synced_status ELSE status END ORDER BY o_orderkey)
                FILTER (WHERE changes),
            array_agg(current_status ORDER BY o_orderkey) FILTER (WHERE changes),
            array_agg(synced_status ORDER BY o_orderkey) FILTER (WHERE changes),
            array_agg(status IS NULL ORDER BY o_orderkey) FILTER (WHERE changes),
            array_agg(version + 1 ORDER BY o_orderkey) FILTER (WHERE changes),
            array_agg(note ORDER BY o_orderkey) FILTER (WHERE changes)
        INTO outcomes, changed, statuses_after, statuses_before, synced, clears, new_versions, notes
        FROM outcome;
        EXIT WHEN changed = '{}';

        -- Not the statement's time, which is before all waits: a later version of an order is never of an earlier time.
        changed_at := clock_timestamp();
        INSERT INTO {schema}.order_status AS x
            (o_orderkey, status, version, synced_status, updated_by, updated_at)
        SELECT c.o_orderkey, CASE WHEN c.clears THEN NULL ELSE c.status END, c.version, c.synced_status, caller,
               changed_at
        FROM unnest(changed, statuses_after, synced, clears, new_versions)
            AS c (o_orderkey, status, synced_status, clears, version)
        ORDER BY c.o_orderkey
        ON CONFLICT (o_orderkey) DO UPDATE
            SET status = excluded.status, version = excluded.version, synced_status = excluded.synced_status,
                updated_by = excluded.updated_by, updated_at = excluded.updated_at
            WHERE x.version = excluded.version - 1;
        GET DIAGNOSTICS written = ROW_COUNT;
        EXIT WHEN written = cardinality(changed);
        -- Another transaction has changed the one order meanwhile. Its row is locked now, so the next turn is the last.
        -- A list has locked all its rows before.
    END LOOP;

    IF cardinality(changed) < cardinality(order_keys) AND cardinality(order_keys) > 1 THEN
        DELETE FROM {schema}.order_status AS x WHERE x.o_orderkey = ANY(order_keys) AND x.version = 0;
    END IF;
    IF idempotency_key IS NOT NULL THEN
        UPDATE {schema}.idempotency AS i SET outcome = CAST(outcomes AS jsonb)
        WHERE i.principal = caller AND i.key = idempotency_key;
    END IF;
    IF changed <> '{}' THEN
        WITH change AS (
            INSERT INTO {schema}.order_status_change AS c
                (o_orderkey, previous_status, status, cleared, synced_status, version, changed_by, changed_at, note)
            SELECT n.o_orderkey, n.previous_status, n.status, n.clears, n.synced_status, n.version, caller,
                   write_statuses.changed_at, n.note
            FROM unnest(changed, statuses_before, statuses_after, clears, synced, new_versions, notes)
                AS n (o_orderkey, previous_status, status, clears, synced_status, version, note)
            ORDER BY n.o_orderkey
            RETURNING c.id, c.o_orderkey
        )
        SELECT array_agg(change.id ORDER BY change.o_orderkey) INTO ids FROM change;
    END IF;
    verdict := 'WRITTEN';
END
$function$
