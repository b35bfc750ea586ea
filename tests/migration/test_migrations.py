"""The schema's way up and down, and what it refuses."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg2.errors
import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import text

from orchestrator.postgres import OWNER, SUPERUSER, EmbeddedPostgres
from storage.auditor import ask
from storage.database import MIGRATIONS, check_schema, connection, downgrade, head_revision, migrate
from storage.errors import AuditorMissing, SchemaOutdated
from storage.schema import APPEND_ONLY, VIEWS, schema_differences
from tests.conftest import execute

REVISIONS = [script.revision for script in reversed(list(ScriptDirectory(str(MIGRATIONS)).walk_revisions()))]
PART = [
    "INSERT INTO line_runs (id, line, code_version, host, settings) "
    "VALUES ('01890000-0000-7000-8000-000000000001', 'line-1', '1', 'here', '{}')",
    "INSERT INTO stations (name, line) VALUES ('press', 'line-1')",
    "INSERT INTO recipes (name, version, sha256, configuration) VALUES ('bracket', 1, repeat('a', 64), '{}')",
    "INSERT INTO model_versions (id, recipe, detector, sha256, configuration, ok_threshold, ng_threshold, metrics, "
    "code_version) VALUES ('m-1', 'bracket', 'patchcore', repeat('b', 64), '{}', 0.4, 0.6, '{}', '1')",
    "INSERT INTO deployments (recipe, alias, model_version, deployed_by, reason) "
    "VALUES ('bracket', 'champion', 'm-1', 'anna', 'first')",
    "INSERT INTO threshold_settings (recipe, model_version, ok_threshold, ng_threshold, set_by, reason) "
    "VALUES ('bracket', 'm-1', 0.3, 0.5, 'anna', 'too many escapes')",
    "INSERT INTO inspections (id, run_id, station, recipe_id, part_id, trigger_source, trigger_number, triggered_at) "
    "SELECT '01890000-0000-7000-8000-000000000002', '01890000-0000-7000-8000-000000000001', 'press', id, 'P-1', "
    "'interval', 1, now() FROM recipes",
    "INSERT INTO frames (inspection_id, camera, sha256, md5, size_bytes, media_type, width, height, channels, "
    "bit_depth, frame_number, captured_at) VALUES ('01890000-0000-7000-8000-000000000002', 'top', repeat('c', 64), "
    "repeat('d', 32), 10, 'image/png', 4, 4, 1, 8, 1, now())",
    "INSERT INTO predictions (inspection_id, camera, model_version, anomaly_score, raw_score, "
    "ok_threshold, ng_threshold, probabilities) "
    "VALUES ('01890000-0000-7000-8000-000000000002', 'top', 'm-1', 0.9, 9, 0.4, 0.6, '{}')",
    "INSERT INTO verdicts (inspection_id, verdict, reason, anomaly_score, model_version, decided_at, "
    "stage_milliseconds) VALUES ('01890000-0000-7000-8000-000000000002', 'NG', 'score', 0.9, 'm-1', now(), '{}')",
    "INSERT INTO dataset_snapshots (name, recipe, sha256, description, seed, policy, counts, code_version, created_by) "
    "VALUES ('20261124_V1_weekly', 'bracket', repeat('e', 64), 'weekly', 0, '{}', '{}', '1', 'anna')",
    "INSERT INTO snapshot_items (snapshot, sha256, md5, size_bytes, media_type, width, height, part_key, split, "
    "is_anomaly, defects, regions, source) VALUES ('20261124_V1_weekly', repeat('c', 64), repeat('d', 32), 10, "
    "'image/png', 4, 4, 'part:P-1', 'test', true, '{crack}', '[]', 'operator')",
    "INSERT INTO set_aside (snapshot, sha256, reason, part_key, detail, used) "
    "VALUES ('20261124_V1_weekly', repeat('f', 64), 'blurred', 'part:P-2', 'sharpness 1', false)",
    "INSERT INTO set_aside_releases (recipe, snapshot, sha256, released_by, reason) "
    "VALUES ('bracket', '20261124_V1_weekly', repeat('f', 64), 'anna', 'it is meant to be so')",
    "INSERT INTO pool_parts (recipe, part_key, snapshot) VALUES ('bracket', 'part:P-1', '20261124_V1_weekly')",
    "INSERT INTO challenge_parts (recipe, part_key, added_by, reason) VALUES ('bracket', 'part:P-9', 'anna', 'hard')",
    "INSERT INTO deployment_requests (recipe, alias, model_version, share, requested_by, reason) "
    "VALUES ('bracket', 'canary', 'm-1', 0.1, 'anna', 'looks better')",
    "INSERT INTO deployment_answers (request_id, approved, answered_by, reason) "
    "SELECT id, false, 'bert', 'not yet' FROM deployment_requests",
    "INSERT INTO model_swaps (deployment_id, worker, swapped_at, load_milliseconds) "
    "SELECT id, 'inference-0', now(), 12 FROM deployments",
    "INSERT INTO people_events (what, done_by, detail) VALUES ('sign_in_refused', 'nobody', '')",
]
DRIFT = [
    "INSERT INTO drift_references "
    "(id, station, camera, recipe, model_version, frames, first_at, last_at, facts, edges) "
    "VALUES (1, 'press', 'top', 'bracket', 'm-1', 2, now(), now(), '{}', '')",
    "INSERT INTO drift_measurements (id, station, camera, recipe, model_version, reference, frames, "
    "first_at, last_at, cause, sentence, figures) "
    "VALUES (1, 'press', 'top', 'bracket', 'm-1', 1, 2, now(), now(), 'focus', 'blurred', '{}')",
    "INSERT INTO drift_alarms (id, measurement, station, camera, recipe, cause, pauses_retraining) "
    "VALUES (1, 1, 'press', 'top', 'bracket', 'focus', true)",
    "INSERT INTO drift_acknowledgements (alarm, acknowledged_by, reason, new_reference) "
    "VALUES (1, 'anna', 'lens cleaned', false)",
]
DECISION = [
    "INSERT INTO reviews (id, inspection_id, reason, state, station, margin) SELECT "
    "'01890000-0000-7000-8000-000000000003', id, 'manual', 'resolved', station, 0.1 FROM inspections",
    "INSERT INTO labels (id, review_id, inspection_id, round, opinion, decision, defects, note, source, decided_by, "
    "decided_at, token, lease_until) SELECT '01890000-0000-7000-8000-000000000004', id, inspection_id, 1, 1, "
    "'anomaly', '{crack}', '', 'operator', 'anna', now(), 1, now() FROM reviews",
    "UPDATE reviews SET label_id = '01890000-0000-7000-8000-000000000004'",
    "INSERT INTO regions (label_id, number, inspection_id, camera, kind, points) SELECT id, 1, inspection_id, 'top', "
    "'box', '[[0, 0], [2, 2]]' FROM labels",
]


@pytest.fixture
def empty_url(postgres_server: EmbeddedPostgres, database_numbers: Iterator[int]) -> Iterator[str]:
    """A database in which adline never was."""
    name = f"adline_empty_{next(database_numbers)}"
    administrator = postgres_server.url("postgres", SUPERUSER)
    execute(administrator, f"CREATE DATABASE {name} OWNER {OWNER}")
    yield postgres_server.url(name)
    execute(administrator, f"DROP DATABASE {name} WITH (FORCE)")


def history(url: str) -> list[tuple[object, ...]]:
    with connection(url) as connected:
        return [
            tuple(row)
            for row in connected.execute(
                text("SELECT part_id, verdict, anomaly_score, sha256, model_version FROM v_part_history")
            )
        ]


def catalogue(url: str) -> list[tuple[object, ...]]:
    """Everything adline made in the database, with its rights and comments."""
    with connection(url) as connected:
        rows = connected.execute(
            text(
                """
                SELECT relkind::text, relname, relacl::text, obj_description(oid) FROM pg_class
                WHERE relnamespace = 'public'::regnamespace AND relname NOT LIKE 'alembic%'
                UNION ALL SELECT 'f', proname, proacl::text, obj_description(oid) FROM pg_proc p
                WHERE pronamespace = 'public'::regnamespace
                    AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e')
                UNION ALL SELECT 'r', defaclobjtype::text, defaclacl::text, NULL FROM pg_default_acl
                UNION ALL SELECT 'd', attrelid::regclass || '.' || attname, attacl::text,
                    col_description(attrelid, attnum) FROM pg_attribute
                WHERE attrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace)
                    AND attnum > 0 AND NOT attisdropped AND attrelid::regclass::text NOT LIKE 'alembic%'
                ORDER BY 1, 2
                """
            )
        )
        return [tuple(row) for row in rows]


def test_an_empty_database_becomes_what_the_models_say(empty_url: str) -> None:
    migrate(empty_url)
    assert schema_differences(empty_url) == []
    assert check_schema(empty_url) == head_revision()


def test_every_migration_goes_down_and_up_again(empty_url: str) -> None:
    migrate(empty_url)
    whole = catalogue(empty_url)
    for below in [*reversed(REVISIONS[:-1]), "base"]:
        downgrade(empty_url, below)
        migrate(empty_url)
        assert catalogue(empty_url) == whole, f"down to {below} and up again"
    downgrade(empty_url, "base")
    assert catalogue(empty_url) == []


def test_records_survive_a_migration_down_and_up(empty_url: str) -> None:
    migrate(empty_url)
    execute(empty_url, *PART)
    before = history(empty_url)
    assert before == [("P-1", "NG", 0.9, "c" * 64, "m-1")]
    downgrade(empty_url, "0001")
    assert history(empty_url) == before
    migrate(empty_url)
    assert history(empty_url) == before


def test_a_database_newer_than_the_code_is_refused_and_left_alone(database_url: str) -> None:
    execute(database_url, "UPDATE alembic_version SET version_num = '9999'")
    for attempt in (migrate, check_schema):
        with pytest.raises(SchemaOutdated, match="revision 9999, newer than this version of adline"):
            attempt(database_url)
    assert schema_differences(database_url)[0].startswith("the database is at revision 9999")


def test_an_old_schema_is_told_and_migrated(empty_url: str) -> None:
    migrate(empty_url)
    downgrade(empty_url, "0001")
    with pytest.raises(SchemaOutdated, match=r"is at 0001, this version needs .*: run `adline db migrate`"):
        check_schema(empty_url)
    migrate(empty_url)
    assert schema_differences(empty_url) == []


def test_two_programs_that_migrate_at_once_do_it_once(empty_url: str) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(migrate, [empty_url] * 4))
    assert schema_differences(empty_url) == []


def test_what_differs_is_named(database_url: str) -> None:
    execute(
        database_url,
        "ALTER TABLE frames ADD COLUMN colour text",
        "DROP INDEX ix_verdicts_recorded_at",
        "DROP VIEW v_defect_history",
        "ALTER TABLE verdicts DISABLE TRIGGER append_only",
        "ALTER TABLE passwords DISABLE ROW LEVEL SECURITY",
    )
    assert sorted(schema_differences(database_url)) == [
        "passwords: row security is off or has a policy; the auditor could read secrets",
        "to be as the code needs it: add index ix_verdicts_recorded_at",
        "to be as the code needs it: remove column frames colour",
        "v_defect_history: the view is missing",
        "verdicts: the trigger append_only is missing or disabled; rows could be changed",
    ]


def test_every_view_and_each_of_its_columns_is_explained(database_url: str) -> None:
    explained = {str(name): comment for kind, name, _, comment in catalogue(database_url) if kind in ("v", "d")}
    wanted = [name for name in explained if name.partition(".")[0] in VIEWS]
    assert len(wanted) > 60
    assert [name for name in wanted if not explained[name]] == []


@pytest.mark.parametrize("table", APPEND_ONLY)
def test_history_takes_inserts_only(database_url: str, postgres_server: EmbeddedPostgres, table: str) -> None:
    execute(database_url, *PART, *DECISION, *DRIFT)
    with connection(database_url) as connected:
        column = connected.scalar(
            text("SELECT column_name FROM information_schema.columns WHERE table_name = :table LIMIT 1"),
            {"table": table},
        )
        before = connected.scalar(text(f"SELECT count(*) FROM {table}"))
        assert before
    for attempt in (f"UPDATE {table} SET {column} = {column}", f"DELETE FROM {table}", f"TRUNCATE {table} CASCADE"):
        with pytest.raises(psycopg2.errors.RestrictViolation, match="is append-only"):
            execute(database_url, attempt)
    with connection(database_url) as connected:
        assert connected.scalar(text(f"SELECT count(*) FROM {table}")) == before


def test_the_schema_is_made_without_the_auditor_and_completed_when_there_is_one(
    postgres_server: EmbeddedPostgres, database_numbers: Iterator[int]
) -> None:
    """A database whose user may neither make roles nor was given the auditor's."""
    administrator = postgres_server.url("postgres", SUPERUSER)
    number = next(database_numbers)
    name, user = f"adline_plain_{number}", f"plain_{number}"
    execute(administrator, f"CREATE ROLE {user} LOGIN PASSWORD 'plain'", f"CREATE DATABASE {name} OWNER {user}")
    url = postgres_server.url(name).replace(f"//{OWNER}:", f"//{user}:")
    url = url.replace(url.split(":")[2].split("@")[0], "plain")
    try:
        migrate(url)
        assert schema_differences(url) == []
        with pytest.raises(AuditorMissing):
            ask(url, "SELECT 1 AS n", timeout_seconds=5, most=1)
        execute(administrator, f"GRANT adline_auditor TO {user}")
        migrate(url)
        assert ask(url, "SELECT 1 AS n", timeout_seconds=5, most=1).rows == [{"n": 1}]
        downgrade(url, "base")
    finally:
        execute(administrator, f"DROP DATABASE {name} WITH (FORCE)", f"DROP ROLE {user}")


def test_a_user_who_may_make_roles_makes_the_auditor(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A server on which nobody has prepared anything, as an external one is."""
    server = EmbeddedPostgres(tmp_path_factory.mktemp("external"), durable=False)
    server.start()
    try:
        execute(server.url("postgres", SUPERUSER), "DROP ROLE adline_auditor")
        execute(server.url("postgres", SUPERUSER), "CREATE DATABASE second OWNER adline")
        for url in (server.url(), server.url("second")):
            migrate(url)
            assert ask(url, "SELECT current_user AS who", timeout_seconds=5, most=1).rows == [{"who": "adline_auditor"}]
        server.start()  # gives the role its password
        assert ask(server.auditor_url(), "SELECT 1 AS n", timeout_seconds=5, most=1).rows == [{"n": 1}]
    finally:
        server.stop()
