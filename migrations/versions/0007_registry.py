"""The registry: where a model came from, who scores what share of parts, second persons, swaps, challengers' scores."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)
CLOCK = sa.text("clock_timestamp()")
APPEND_ONLY = ("deployment_requests", "deployment_answers", "model_swaps")

DEPLOYMENTS = {
    "deployment_id": "Number of the deployment; predictions and swaps name it.",
    "share": "Share of parts it scores: the champion all; 0 when the alias was taken from the version.",
    "approved_by": "The second person who approved it; null where the recipe asks for none.",
    "first_swapped_at": "When the first inference worker scored by it.",
    "last_swapped_at": "When the last inference worker scored by it.",
}
PART_MODEL = {
    "part_id": "Serial number of the part.",
    "lot": "Batch the part belongs to.",
    "station": "Station that captured it.",
    "inspection_id": "UUIDv7 made at the trigger.",
    "recipe": "Recipe the station ran.",
    "camera": "Camera that delivered the frame.",
    "frame_sha256": "SHA-256 of the stored image.",
    "verdict": "The decision.",
    "decided_at": "When it was decided.",
    "model_version": "Model version that judged it.",
    "model_sha256": "SHA-256 of the model's files.",
    "snapshot": "Dataset snapshot the version was trained on; null for one that was taught from a folder.",
    "training_run": "Training run the version came from; null when it came from none.",
    "anomaly_score": "Score of the frame in [0, 1]; higher is worse.",
    "ok_threshold": "Below this score the part was OK.",
    "ng_threshold": "From this score on the part was NG.",
    "thresholds_by": "Who set these thresholds; calibration when they are the version's own.",
    "thresholds_reason": "Why they were set; null when they are the version's own.",
    "alias": "As what the version judged it: champion or canary; null before deployments were numbered.",
    "deployment_id": "Deployment by which it judged.",
    "deployed_at": "When that was deployed.",
    "deployed_by": "Who deployed it.",
    "approved_by": "The second person who approved it.",
    "deployed_reason": "Why it was deployed.",
}
SHADOW_PARTS = {
    "recipe": "Recipe the station ran.",
    "inspection_id": "UUIDv7 made at the trigger.",
    "part_id": "Serial number of the part.",
    "station": "Station that captured it.",
    "decided_at": "When the verdict was decided.",
    "model_version": "Model version that judged the part.",
    "challenger": "Model version that only watched.",
    "deployment_id": "Deployment by which it watched.",
    "score": "Worst score of the version that judged.",
    "challenger_score": "Worst score of the challenger.",
    "verdict": "The verdict on record; a random sample of OK parts is REVIEW there.",
    "judged": "What the scores of the version that judged say, without the random sample: OK, REVIEW or NG.",
    "would_be": "What the challenger's scores say.",
    "differs": "Whether the two differ.",
}
SHADOW = {
    "recipe": "Recipe the stations ran.",
    "challenger": "Model version that only watched.",
    "model_version": "Model version that judged meanwhile.",
    "parts": "Parts that both scored.",
    "differ": "Parts that the challenger would have judged otherwise.",
    "stricter": "Of these, how many it would have judged worse.",
    "milder": "Of these, how many it would have judged better.",
    "rank_correlation": "Spearman's rank correlation of both scores, ties at their mean rank.",
    "first_decided_at": "The first such part.",
    "last_decided_at": "The last such part.",
}
REQUESTS = {
    "request_id": "Number of the request.",
    "recipe": "Recipe the alias belongs to.",
    "alias": "Alias that was asked for.",
    "model_version": "Version that is to hold it.",
    "share": "Share of parts it is to score.",
    "requested_at": "When it was asked for.",
    "requested_by": "By whom.",
    "reason": "Why.",
    "state": "waiting, approved or refused.",
    "answered_at": "When it was answered.",
    "answered_by": "Who answered; never the one who asked.",
    "answer_reason": "What was said.",
}
SWAPS = {
    "deployment_id": "Number of the deployment.",
    "recipe": "Recipe the alias belongs to.",
    "alias": "Alias of the deployment.",
    "model_version": "Version that the worker scores by from then on.",
    "share": "Share of parts; 0 when the worker stopped scoring by it.",
    "worker": "Inference worker.",
    "deployed_at": "When the deployment was made.",
    "swapped_at": "When the worker began to score by it, by the clock that dates its verdicts.",
    "replaced_at": "When that worker began to score by the next one; null while it scores by this one.",
    "load_milliseconds": "How long the worker took to load the version, beside its work.",
}
NEW_VIEWS = {
    "v_part_model": ("One row for each scored view: which version judged it, by which thresholds.", PART_MODEL),
    "v_shadow_parts": ("One row for each part that a challenger scored, beside what was decided.", SHADOW_PARTS),
    "v_shadow": ("How a challenger's verdicts and scores differ from those of the version that judged.", SHADOW),
    "v_deployment_requests": ("Deployments that need a second person, and what that person said.", REQUESTS),
    "v_model_swaps": ("When which inference worker began to score by which deployment.", SWAPS),
}
COLUMNS = {"v_model_deployments": DEPLOYMENTS} | {view: columns for view, (_, columns) in NEW_VIEWS.items()}
WIDE = """
    SELECT d.recipe, d.alias, d.model_version, m.sha256, d.deployed_at,
           lead(d.deployed_at) OVER (PARTITION BY d.recipe, d.alias ORDER BY d.id) AS replaced_at,
           d.deployed_by, d.reason{more}
    FROM deployments d JOIN model_versions m ON m.id = d.model_version
"""
MORE = """, d.id AS deployment_id, d.share, d.approved_by,
           (SELECT min(s.swapped_at) FROM model_swaps s WHERE s.deployment_id = d.id) AS first_swapped_at,
           (SELECT max(s.swapped_at) FROM model_swaps s WHERE s.deployment_id = d.id) AS last_swapped_at"""
HISTORY = """
    SELECT i.part_id, i.lot, i.product, i.id AS inspection_id, i.station, r.line, r.code_version,
           i.trigger_source, i.trigger_number, i.triggered_at,
           c.name AS recipe, c.version AS recipe_version, c.sha256 AS recipe_sha256,
           f.camera, f.captured_at, f.sha256, f.md5, f.media_type, f.width, f.height, f.source,
           p.model_version, m.sha256 AS model_sha256, p.anomaly_score, p.raw_score, p.ok_threshold,
           p.ng_threshold, p.map_sha256,
           v.verdict, v.reason, v.decided_at, v.recorded_at, v.stage_milliseconds,
           w.reason AS review_reason, w.state AS review_state, l.decision AS label, l.defects AS label_defects,
           l.note AS label_note, l.decided_by AS labeled_by, l.decided_at AS labeled_at
    FROM inspections i
    JOIN line_runs r ON r.id = i.run_id
    JOIN recipes c ON c.id = i.recipe_id
    LEFT JOIN frames f ON f.inspection_id = i.id
    LEFT JOIN verdicts v ON v.inspection_id = i.id
    LEFT JOIN predictions p ON p.inspection_id = f.inspection_id AND p.camera = f.camera {whose}
    LEFT JOIN model_versions m ON m.id = p.model_version
    LEFT JOIN reviews w ON w.inspection_id = i.id
    LEFT JOIN labels l ON l.id = w.label_id
"""
OF_VERDICT = "AND p.model_version = v.model_version"


def upgrade() -> None:
    op.add_column("model_versions", sa.Column("snapshot", sa.String()))
    op.add_column("model_versions", sa.Column("training_run", sa.Uuid()))
    create_tables()
    extend_deployments()
    op.add_column("predictions", sa.Column("deployment_id", sa.BigInteger()))
    op.add_column("predictions", sa.Column("scored_at", TIME))
    op.create_foreign_key("fk_predictions_deployment_id", "predictions", "deployments", ["deployment_id"], ["id"])
    op.create_index(
        "ix_predictions_shadow",
        "predictions",
        ["model_version", "deployment_id"],
        postgresql_where=sa.text("scored_at IS NOT NULL"),
    )
    for table in APPEND_ONLY:
        op.execute(
            f"CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
        )
    create_views()


def create_tables() -> None:
    """What one person asks for, what another says of it; when each worker followed."""
    op.create_table(
        "deployment_requests",
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("recipe", sa.String(), nullable=False),
        sa.Column("alias", sa.String(), nullable=False),
        sa.Column("model_version", sa.String(), nullable=False),
        sa.Column("share", sa.Float(), nullable=False),
        sa.Column("requested_at", TIME, server_default=CLOCK, nullable=False),
        sa.Column("requested_by", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_deployment_requests"),
        sa.ForeignKeyConstraint(["model_version"], ["model_versions.id"], name="fk_deployment_requests_model_version"),
    )
    op.create_index("ix_deployment_requests_recipe_id", "deployment_requests", ["recipe", "id"])
    op.create_table(
        "deployment_answers",
        sa.Column("request_id", sa.BigInteger(), nullable=False),
        sa.Column("approved", sa.Boolean(), nullable=False),
        sa.Column("answered_at", TIME, server_default=CLOCK, nullable=False),
        sa.Column("answered_by", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("request_id", name="pk_deployment_answers"),
        sa.ForeignKeyConstraint(["request_id"], ["deployment_requests.id"], name="fk_deployment_answers_request_id"),
    )
    op.create_table(
        "model_swaps",
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("deployment_id", sa.BigInteger(), nullable=False),
        sa.Column("worker", sa.String(), nullable=False),
        sa.Column("swapped_at", TIME, nullable=False),
        sa.Column("load_milliseconds", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_model_swaps"),
        sa.ForeignKeyConstraint(["deployment_id"], ["deployments.id"], name="fk_model_swaps_deployment_id"),
    )
    op.create_index("ix_model_swaps_deployment_id", "model_swaps", ["deployment_id"])


def extend_deployments() -> None:
    op.add_column("deployments", sa.Column("share", sa.Float(), server_default="1", nullable=False))
    op.add_column("deployments", sa.Column("approved_by", sa.String()))
    op.add_column("deployments", sa.Column("request_id", sa.BigInteger()))
    op.create_foreign_key("fk_deployments_request_id", "deployments", "deployment_requests", ["request_id"], ["id"])
    op.create_check_constraint(
        op.f("ck_deployments_alias"), "deployments", "alias IN ('champion', 'challenger', 'canary')"
    )
    op.create_check_constraint(
        op.f("ck_deployments_share"), "deployments", "share BETWEEN 0 AND 1 AND (share = 1 OR alias <> 'champion')"
    )


def create_views() -> None:
    """A part's history is what led to its verdict: what a challenger said is in views of its own."""
    op.execute(f"CREATE OR REPLACE VIEW v_part_history AS {HISTORY.format(whose=OF_VERDICT)}")
    op.execute(f"CREATE OR REPLACE VIEW v_model_deployments AS {WIDE.format(more=MORE)}")
    op.execute(
        """
        CREATE VIEW v_part_model AS
        SELECT i.part_id, i.lot, i.station, i.id AS inspection_id, c.name AS recipe, f.camera,
               f.sha256 AS frame_sha256, v.verdict, v.decided_at, p.model_version, m.sha256 AS model_sha256,
               m.snapshot, m.training_run, p.anomaly_score, p.ok_threshold, p.ng_threshold,
               coalesce(t.set_by, 'calibration') AS thresholds_by, t.reason AS thresholds_reason,
               d.alias, d.id AS deployment_id, d.deployed_at, d.deployed_by, d.approved_by,
               d.reason AS deployed_reason
        FROM inspections i
        JOIN recipes c ON c.id = i.recipe_id
        JOIN verdicts v ON v.inspection_id = i.id
        JOIN frames f ON f.inspection_id = i.id
        JOIN predictions p ON p.inspection_id = f.inspection_id AND p.camera = f.camera
            AND p.model_version = v.model_version
        JOIN model_versions m ON m.id = p.model_version
        LEFT JOIN deployments d ON d.id = p.deployment_id
        LEFT JOIN LATERAL (
            SELECT s.set_by, s.reason FROM threshold_settings s
            WHERE s.recipe = c.name AND s.model_version = p.model_version AND s.set_at <= v.decided_at
                AND s.ok_threshold = p.ok_threshold AND s.ng_threshold = p.ng_threshold
            ORDER BY s.id DESC LIMIT 1
        ) t ON true
        """
    )
    op.execute(
        """
        CREATE VIEW v_shadow_parts AS
        SELECT c.name AS recipe, i.id AS inspection_id, i.part_id, i.station, v.decided_at, v.model_version,
               other.model_version AS challenger, other.deployment_id, own.score, other.score AS challenger_score,
               v.verdict, own.verdict AS judged, other.verdict AS would_be, own.verdict <> other.verdict AS differs
        FROM (
            SELECT inspection_id, model_version, deployment_id, max(anomaly_score) AS score,
                   CASE WHEN bool_or(anomaly_score >= ng_threshold) THEN 'NG'
                        WHEN bool_or(anomaly_score >= ok_threshold) THEN 'REVIEW' ELSE 'OK' END AS verdict
            FROM predictions WHERE scored_at IS NOT NULL GROUP BY inspection_id, model_version, deployment_id
        ) other
        JOIN verdicts v ON v.inspection_id = other.inspection_id
        JOIN inspections i ON i.id = v.inspection_id
        JOIN recipes c ON c.id = i.recipe_id
        JOIN LATERAL (
            SELECT max(anomaly_score) AS score,
                   CASE WHEN bool_or(anomaly_score >= ng_threshold) THEN 'NG'
                        WHEN bool_or(anomaly_score >= ok_threshold) THEN 'REVIEW' ELSE 'OK' END AS verdict
            FROM predictions p
            WHERE p.inspection_id = v.inspection_id AND p.model_version = v.model_version HAVING count(*) > 0
        ) own ON true
        WHERE other.model_version <> v.model_version
        """
    )
    op.execute(
        """
        CREATE VIEW v_shadow AS
        WITH ranked AS (
            SELECT *, rank() OVER a + (count(*) OVER ta - 1) / 2.0 AS own_rank,
                   rank() OVER b + (count(*) OVER tb - 1) / 2.0 AS challenger_rank,
                   array_position(ARRAY['OK', 'REVIEW', 'NG'], would_be)
                       - array_position(ARRAY['OK', 'REVIEW', 'NG'], judged) AS worse
            FROM v_shadow_parts
            WINDOW a AS (PARTITION BY recipe, challenger, model_version ORDER BY score),
                   b AS (PARTITION BY recipe, challenger, model_version ORDER BY challenger_score),
                   ta AS (PARTITION BY recipe, challenger, model_version, score),
                   tb AS (PARTITION BY recipe, challenger, model_version, challenger_score)
        )
        SELECT recipe, challenger, model_version, count(*) AS parts, count(*) FILTER (WHERE differs) AS differ,
               count(*) FILTER (WHERE worse > 0) AS stricter, count(*) FILTER (WHERE worse < 0) AS milder,
               corr(own_rank::float8, challenger_rank::float8) AS rank_correlation,
               min(decided_at) AS first_decided_at, max(decided_at) AS last_decided_at
        FROM ranked GROUP BY recipe, challenger, model_version
        """
    )
    op.execute(
        """
        CREATE VIEW v_deployment_requests AS
        SELECT r.id AS request_id, r.recipe, r.alias, r.model_version, r.share, r.requested_at, r.requested_by,
               r.reason,
               CASE WHEN a.approved THEN 'approved' WHEN NOT a.approved THEN 'refused' ELSE 'waiting' END AS state,
               a.answered_at, a.answered_by, a.reason AS answer_reason
        FROM deployment_requests r LEFT JOIN deployment_answers a ON a.request_id = r.id
        """
    )
    op.execute(
        """
        CREATE VIEW v_model_swaps AS
        SELECT s.deployment_id, d.recipe, d.alias, d.model_version, d.share, s.worker, d.deployed_at, s.swapped_at,
               lead(s.swapped_at) OVER (PARTITION BY d.recipe, d.alias, s.worker ORDER BY s.id) AS replaced_at,
               s.load_milliseconds
        FROM model_swaps s JOIN deployments d ON d.id = s.deployment_id
        """
    )
    for view, (meaning, _) in NEW_VIEWS.items():
        comment("VIEW", view, meaning)
    for view, columns in COLUMNS.items():
        for column, meaning in columns.items():
            comment("COLUMN", f"{view}.{column}", meaning)


def comment(kind: str, name: str, meaning: str) -> None:
    quoted = meaning.replace("'", "''")
    op.execute(f"COMMENT ON {kind} {name} IS '{quoted}'")


def downgrade() -> None:
    for view in ("v_model_swaps", "v_deployment_requests", "v_shadow", "v_shadow_parts", "v_part_model"):
        op.execute(f"DROP VIEW {view}")
    op.execute(f"CREATE OR REPLACE VIEW v_part_history AS {HISTORY.format(whose='')}")
    narrow_deployments()
    for column in ("scored_at", "deployment_id"):
        op.drop_column("predictions", column)
    for name in ("share", "alias"):
        op.drop_constraint(op.f(f"ck_deployments_{name}"), "deployments")
    for column in ("request_id", "approved_by", "share"):
        op.drop_column("deployments", column)
    for table in ("model_swaps", "deployment_answers", "deployment_requests"):
        op.drop_table(table)
    for column in ("training_run", "snapshot"):
        op.drop_column("model_versions", column)


def narrow_deployments() -> None:
    """A view loses columns only by being made anew; what its other columns mean is kept."""
    view = "v_model_deployments"
    meaning = op.get_bind().exec_driver_sql(f"SELECT obj_description('{view}'::regclass)").scalar_one()
    columns = (
        op.get_bind()
        .exec_driver_sql(
            "SELECT attname, col_description(attrelid, attnum) FROM pg_attribute "
            f"WHERE attrelid = '{view}'::regclass AND attnum > 0 AND NOT attisdropped"
        )
        .all()
    )
    op.execute(f"DROP VIEW {view}")
    op.execute(f"CREATE VIEW {view} AS {WIDE.format(more='')}")
    comment("VIEW", view, meaning)
    for column, said in columns:
        if column not in DEPLOYMENTS:
            comment("COLUMN", f"{view}.{column}", said)
