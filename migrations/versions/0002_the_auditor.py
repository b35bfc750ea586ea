"""The auditor: a role that can only read, the one function its questions go through, and what the views mean."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

VIEWS = {
    "v_part_history": "One row for each view of each inspection of a part, with everything that led to its verdict.",
    "v_defect_history": "The rows of v_part_history whose verdict is NG, REVIEW or ERROR.",
    "v_model_deployments": "Which model version held which alias of a recipe from when to when, set by whom, and why.",
}
HISTORY = {
    "part_id": "Serial number of the part, as the trigger told it; null when nobody gave one.",
    "lot": "Batch the part belongs to.",
    "product": "Kind of part.",
    "inspection_id": "UUIDv7 made at the trigger: one part seen once by one station.",
    "station": "Station that captured and decided.",
    "line": "Line the station belongs to.",
    "code_version": "Version of adline that ran the line.",
    "trigger_source": "Who said that the part is in place: interval, software or file.",
    "trigger_number": "Running number of the trigger at its station.",
    "triggered_at": "When the part was in place.",
    "recipe": "Recipe the station ran.",
    "recipe_version": "Version of the recipe; a changed recipe is a new version.",
    "recipe_sha256": "SHA-256 of the recipe's configuration as canonical JSON.",
    "camera": "Camera that delivered the frame; null when there is no frame.",
    "captured_at": "When the frame was captured.",
    "sha256": "SHA-256 of the stored image; also its place in the image store.",
    "md5": "MD5 of the same bytes, for plants that exchange MD5 lists.",
    "media_type": "Format of the stored image, such as image/jpeg.",
    "width": "Width of the frame in pixels.",
    "height": "Height of the frame in pixels.",
    "source": "Where the frame came from, such as the name of its file.",
    "model_version": "Model version that scored the frame.",
    "model_sha256": "SHA-256 of the model's files.",
    "anomaly_score": "Score of the frame in [0, 1]; higher is worse.",
    "raw_score": "The detector's own number before it was brought into [0, 1].",
    "ok_threshold": "Below this score the part was OK.",
    "ng_threshold": "From this score on the part was NG; between the two it went to REVIEW.",
    "map_sha256": "SHA-256 of the stored anomaly map; kept for REVIEW and NG.",
    "verdict": "The decision: OK, NG, REVIEW, or ERROR for what could not be inspected; null while there is none.",
    "reason": "Why this verdict.",
    "decided_at": "When it was decided.",
    "recorded_at": "When it was on record, durably.",
    "stage_milliseconds": "How long each stage took.",
    "review_reason": "Why the part was put before an operator: uncertain, sampled or manual; null when it was not.",
    "review_state": "Where the review stands: open or resolved.",
}
DEPLOYMENTS = {
    "recipe": "Recipe the alias belongs to.",
    "alias": "champion decides, challenger watches.",
    "model_version": "Model version that held the alias.",
    "sha256": "SHA-256 of the model's files.",
    "deployed_at": "From when.",
    "replaced_at": "Until when; null while it holds the alias.",
    "deployed_by": "Who deployed it.",
    "reason": "Why.",
}
COLUMNS = {"v_part_history": HISTORY, "v_defect_history": HISTORY, "v_model_deployments": DEPLOYMENTS}

# Runs one question as the auditor, whoever calls it. Why it cannot be used for anything else:
# * OPEN ... FOR EXECUTE takes one statement that returns rows; `select 1; delete ...` and COPY, SET, RESET are refused.
# * Within a SECURITY DEFINER function Postgres refuses to change the role, so there is no way back to the caller's.
# * A STABLE function runs nothing that writes, not even in a WITH; the auditor may not write anyway.
# * The rows are collected here: a cursor handed out would go on with the caller's rights.
# The first answer is the list of column names, each further one a row.
AUDIT_ROWS = """
    CREATE FUNCTION audit_rows(question text, most bigint) RETURNS SETOF json
    LANGUAGE plpgsql STABLE SECURITY DEFINER AS $function$
    DECLARE
        answers refcursor;
        answer record;
    BEGIN
        OPEN answers FOR EXECUTE question;
        FETCH answers INTO answer;
        RETURN NEXT (SELECT coalesce(json_agg(name), '[]') FROM json_object_keys(row_to_json(answer)) AS name);
        WHILE FOUND AND most > 0 LOOP
            RETURN NEXT row_to_json(answer);
            most := most - 1;
            FETCH answers INTO answer;
        END LOOP;
    END $function$
"""

# A role belongs to the whole server: it may be there already, and the user who migrates may not be allowed to make one.
# Then everything else works, and `adline db migrate` repeats this once an administrator has made the role.
FURNISH = f"""
    CREATE PROCEDURE furnish_auditor() LANGUAGE plpgsql AS $procedure$
    BEGIN
        IF to_regprocedure('audit_rows(text, bigint)') IS NOT NULL THEN
            RETURN;
        END IF;
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'adline_auditor') THEN
            BEGIN
                CREATE ROLE adline_auditor NOLOGIN;
            EXCEPTION WHEN duplicate_object OR unique_violation THEN
                NULL;  -- another database of this server was migrated at the same moment
            END;
        END IF;
        IF EXISTS (
            SELECT FROM pg_roles
            WHERE rolname = 'adline_auditor' AND (rolsuper OR rolcreaterole OR rolcreatedb OR rolbypassrls)
        ) THEN
            RAISE EXCEPTION 'the role adline_auditor has rights that an auditor must not have'
                USING ERRCODE = 'insufficient_privilege';
        END IF;
        BEGIN
            GRANT adline_auditor TO CURRENT_USER;
        EXCEPTION WHEN insufficient_privilege THEN
            NULL;  -- an administrator may have granted it; below it shows
        END;
        EXECUTE format('GRANT USAGE, CREATE ON SCHEMA %I TO adline_auditor', current_schema());
        EXECUTE format('GRANT SELECT ON ALL TABLES IN SCHEMA %I TO adline_auditor', current_schema());
        EXECUTE format(
            'ALTER DEFAULT PRIVILEGES IN SCHEMA %I GRANT SELECT ON TABLES TO adline_auditor', current_schema());
        {AUDIT_ROWS.strip()};
        EXECUTE format('ALTER FUNCTION audit_rows(text, bigint) SET search_path = %I, pg_temp', current_schema());
        REVOKE ALL ON FUNCTION audit_rows(text, bigint) FROM PUBLIC;
        EXECUTE format('GRANT EXECUTE ON FUNCTION audit_rows(text, bigint) TO %I', current_user);
        ALTER FUNCTION audit_rows(text, bigint) OWNER TO adline_auditor;
        EXECUTE format('REVOKE CREATE ON SCHEMA %I FROM adline_auditor', current_schema());
    EXCEPTION WHEN insufficient_privilege THEN
        RAISE NOTICE '`adline audit sql` is not available: %', SQLERRM;
    END $procedure$
"""


def upgrade() -> None:
    for view, columns in COLUMNS.items():
        comment("VIEW", view, VIEWS[view])
        for column, meaning in columns.items():
            comment("COLUMN", f"{view}.{column}", meaning)
    op.execute(FURNISH)
    op.execute("CALL furnish_auditor()")


def comment(kind: str, name: str, meaning: str) -> None:
    quoted = meaning.replace("'", "''")
    op.execute(f"COMMENT ON {kind} {name} IS '{quoted}'")


def downgrade() -> None:
    # The role stays: other databases of this server may use it, and without rights it can do nothing.
    op.execute(
        """
        DO $$ BEGIN
            IF to_regprocedure('audit_rows(text, bigint)') IS NOT NULL THEN
                DROP FUNCTION audit_rows(text, bigint);
                EXECUTE format(
                    'ALTER DEFAULT PRIVILEGES IN SCHEMA %I REVOKE SELECT ON TABLES FROM adline_auditor',
                    current_schema());
                EXECUTE format(
                    'REVOKE ALL ON ALL TABLES IN SCHEMA %I FROM adline_auditor', current_schema());
                EXECUTE format('REVOKE ALL ON SCHEMA %I FROM adline_auditor', current_schema());
            END IF;
        END $$
        """
    )
    op.execute("DROP PROCEDURE furnish_auditor()")
    for view, columns in COLUMNS.items():
        op.execute(f"COMMENT ON VIEW {view} IS NULL")
        for column in columns:
            op.execute(f"COMMENT ON COLUMN {view}.{column} IS NULL")
