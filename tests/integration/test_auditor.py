"""Free questions: what an auditor may ask, and what nobody gets to do through them."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg2.errors
import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url

from orchestrator.postgres import AUDITOR, OWNER, SUPERUSER, EmbeddedPostgres
from storage.auditor import Answer, ask
from storage.database import connection
from storage.errors import AdlineError, AuditorMissing, QuestionRefused
from tests.conftest import execute

ESCAPES = [
    "select 1; commit; delete from line_runs",
    "select 1; delete from line_runs",
    "select 1; select 2",
    "commit; delete from line_runs; select 1",
    "delete from line_runs",
    "delete from line_runs returning id",
    "with gone as (delete from line_runs returning id) select * from gone",
    "with made as (insert into stations (name, line) values ('x', 'x') returning name) select * from made",
    "update stations set line = 'other' returning name",
    "insert into stations (name, line) values ('x', 'x') returning name",
    "truncate line_runs",
    "drop table line_runs cascade",
    "create table mine (n int)",
    "create temporary table mine (n int)",
    "select * into mine from stations",
    "create role mine superuser",
    "alter role adline_auditor superuser",
    "grant delete on line_runs to adline_auditor",
    "select set_config('role', 'adline', false)",
    "select set_config('role', 'postgres', true)",
    "select set_config('role', 'none', false)",
    "select set_config('session_authorization', 'postgres', false)",
    "select set_config('transaction_read_only', 'off', false)",
    "reset role",
    "set role adline",
    "set role none",
    "set session authorization postgres",
    "set transaction read write",
    "set statement_timeout = 0",
    "begin",
    "commit",
    "rollback",
    "do $$ begin delete from line_runs; end $$",
    "call furnish_auditor()",
    "prepare p as delete from line_runs",
    "declare c cursor for select 1",
    "lock table line_runs",
    "vacuum",
    "select pg_read_file('PG_VERSION')",
    "select pg_read_binary_file('/etc/passwd')",
    "select pg_ls_dir('.')",
    "select * from pg_authid",
    "select * from pg_shadow",
    "select lo_import('/etc/passwd')",
    "select lo_from_bytea(0, 'x')",
    "select lo_export(1, '/tmp/adline-export')",
    "copy line_runs to program 'cat'",
    "copy (select 1) to '/tmp/adline-copied'",
    "copy line_runs to stdout",
    "copy line_runs from program 'echo'",
    "explain analyze delete from line_runs",
    "select query_to_xml('delete from line_runs returning id', true, false, '')",
    "select query_to_xml('commit', true, false, '')",
    "select * from stations for update",
    "select nextval('deployments_id_seq')",
    "select setval('deployments_id_seq', 1)",
    "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'postgres' and 1 / (pid - pid) = 0",
    "load 'auto_explain'",
    "listen x",
    "notify x",
    "",
    ";",
    "-- nothing",
]


@pytest.fixture(scope="module")
def shared_url(
    postgres_server: EmbeddedPostgres, template_database: str, database_numbers: Iterator[int]
) -> Iterator[str]:
    """One database with a little on record for all questions of this file: none may change it."""
    name = f"adline_asked_{next(database_numbers)}"
    administrator = postgres_server.url("postgres", SUPERUSER)
    execute(administrator, f"CREATE DATABASE {name} OWNER {OWNER} TEMPLATE {template_database}")
    url = postgres_server.url(name)
    execute(
        url,
        "INSERT INTO stations (name, line) VALUES ('press', 'line-1')",
        "INSERT INTO line_runs (id, line, code_version, host, settings) "
        "VALUES ('01890000-0000-7000-8000-000000000001', 'line-1', '1', 'here', '{}')",
        "CREATE TABLE added_later (n integer)",
        "CREATE VIEW v_added_later AS SELECT n FROM added_later",
    )
    yield url
    execute(administrator, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(params=[AUDITOR, OWNER, SUPERUSER])
def asker(request: pytest.FixtureRequest, shared_url: str, postgres_server: EmbeddedPostgres) -> str:
    """Who logs in: the auditor (embedded database), or whoever database.url names, at worst a superuser."""
    return postgres_server.url(make_url(shared_url).database or "", request.param)


def answer(url: str, question: str, timeout_seconds: float = 30, most: int = 10) -> Answer:
    return ask(url, question, timeout_seconds=timeout_seconds, most=most)


def state(url: str) -> tuple[object, ...]:
    with connection(url) as connected:
        return tuple(
            connected.execute(
                text(
                    """
                    SELECT (SELECT count(*) FROM line_runs), (SELECT string_agg(name || line, ',') FROM stations),
                           (SELECT count(*) FROM pg_class), (SELECT count(*) FROM pg_largeobject_metadata),
                           (SELECT count(*) FROM pg_roles),
                           has_table_privilege('adline_auditor', 'line_runs', 'DELETE'),
                           (SELECT rolsuper FROM pg_roles WHERE rolname = 'adline_auditor')
                    """
                )
            ).one()
        )


@pytest.mark.parametrize("question", ESCAPES)
def test_no_question_can_change_or_read_more_than_the_records(asker: str, shared_url: str, question: str) -> None:
    before = state(shared_url)
    with pytest.raises(QuestionRefused):
        answer(asker, question)
    assert state(shared_url) == before


def test_every_table_and_view_can_be_asked_and_later_ones_too(asker: str) -> None:
    tables = answer(
        asker,
        "SELECT relname FROM pg_class WHERE relkind IN ('r', 'v') AND relnamespace = 'public'::regnamespace",
        most=99,
    )
    names = {row["relname"] for row in tables.rows}
    assert {"added_later", "v_added_later", "v_part_history", "verdicts"} <= names
    for table in sorted(names):
        answer(asker, f"SELECT * FROM {table}")


def test_the_question_runs_as_the_auditor_whoever_logs_in(asker: str) -> None:
    asked = answer(asker, "SELECT current_user AS who, current_setting('transaction_read_only') AS read_only")
    assert asked.rows == [{"who": "adline_auditor", "read_only": "on"}]


def test_more_rows_than_asked_for_are_cut_and_it_is_said(asker: str) -> None:
    asked = answer(asker, "SELECT n FROM generate_series(1, 11) AS n", most=10)
    assert asked.cut and len(asked.rows) == 10
    assert not answer(asker, "SELECT n FROM generate_series(1, 10) AS n", most=10).cut


def test_an_answer_without_rows_still_names_its_columns(asker: str) -> None:
    asked = answer(asker, "SELECT part_id, verdict FROM v_part_history")
    assert asked == Answer(["part_id", "verdict"], [], cut=False)


def test_columns_come_in_the_order_asked_with_values_as_they_are(asker: str) -> None:
    asked = answer(asker, "TABLE stations;")
    assert asked.columns == ["name", "line", "created_at"]
    one = answer(asker, "VALUES (NULL, 2.5, 'a:b %s', '{1,2}'::int[], '{\"k\": 1}'::jsonb)").rows[0]
    assert list(one.values()) == [None, 2.5, "a:b %s", [1, 2], {"k": 1}]


def test_two_columns_of_one_name_are_refused_rather_than_merged(asker: str) -> None:
    with pytest.raises(QuestionRefused, match="several columns are called a; give each its own name with AS"):
        answer(asker, "SELECT 1 AS a, 2 AS a")


def test_a_question_that_takes_too_long_is_ended(asker: str) -> None:
    with pytest.raises(QuestionRefused, match=r"longer than 0\.2 s; narrow the question or raise --timeout"):
        answer(asker, "SELECT pg_sleep(60)", timeout_seconds=0.2)
    with pytest.raises(QuestionRefused, match="longer than"):
        answer(asker, "SELECT set_config('statement_timeout', '0', false), pg_sleep(60)", timeout_seconds=0.2)
    with pytest.raises(QuestionRefused, match="longer than"):
        answer(asker, "SELECT pg_sleep(0.05) FROM generate_series(1, 1000)", timeout_seconds=0.2, most=1000)


def test_wrong_sql_is_answered_in_postgres_own_words(asker: str) -> None:
    with pytest.raises(QuestionRefused, match='relation "parts" does not exist'):
        answer(asker, "SELECT * FROM parts")
    with pytest.raises(QuestionRefused, match="one statement that returns rows is allowed"):
        answer(asker, "SELECT 1; SELECT 2")


def test_without_the_auditor_no_question_is_answered(database_url: str) -> None:
    execute(database_url, "DROP FUNCTION audit_rows(text, bigint)")
    with pytest.raises(AuditorMissing, match="CREATE ROLE adline_auditor"):
        answer(database_url, "SELECT 1")


def test_an_auditor_with_too_many_rights_is_not_trusted(database_url: str, postgres_server: EmbeddedPostgres) -> None:
    superuser = postgres_server.url(make_url(database_url).database or "", SUPERUSER)
    execute(superuser, "ALTER FUNCTION audit_rows(text, bigint) OWNER TO postgres")
    with pytest.raises(AuditorMissing):
        answer(database_url, "SELECT pg_read_file('PG_VERSION')")


def test_the_embedded_auditor_cannot_write_even_without_our_function(
    shared_url: str, postgres_server: EmbeddedPostgres
) -> None:
    auditor = postgres_server.url(make_url(shared_url).database or "", AUDITOR)
    for statement in ("DELETE FROM line_runs", "SET ROLE adline", "SET ROLE postgres", "CREATE TABLE mine (n int)"):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            execute(auditor, statement)


def test_a_refusal_is_an_error_that_adline_foresees() -> None:
    assert issubclass(QuestionRefused, AdlineError)
