"""The labeling queue: leases, labels, regions, the defect book, embeddings where pgvector is; labels in the views."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)
APPEND_ONLY = ("labels", "regions", "defect_classes")
CLAIM_ORDERS = tuple((*by, order) for by in ((), ("station",), ("product",)) for order in ("opened_at", "margin"))
DEFECTS = {
    "scratch": ("A line-shaped mark in the surface, made by something that moved along it.", "major"),
    "contamination": ("Something on the part that does not belong there: dust, oil, a fibre, a fingerprint.", "minor"),
    "crack": ("The material is parted; often thin, dark and branched.", "critical"),
}
LABELS = {
    "label": "What people said: normal, anomaly or cannot_tell; null while nobody did.",
    "label_defects": "Defect classes of the label, the most important first.",
    "label_note": "What the person wrote about it.",
    "labeled_by": "Who decided.",
    "labeled_at": "When it was decided.",
}
DECISIONS = {
    "part_id": "Serial number of the part.",
    "lot": "Batch the part belongs to.",
    "product": "Kind of part.",
    "station": "Station that captured it.",
    "inspection_id": "The inspection that was reviewed.",
    "review_id": "The review; one for each inspection.",
    "review_reason": "Why the part was put before an operator: uncertain, sampled or manual.",
    "verdict": "What the system had decided.",
    "anomaly_score": "Score of the worst view in [0, 1].",
    "label_id": "UUIDv7 of the decision.",
    "round": "How often the review had been opened.",
    "opinion": "1 the first opinion, 2 the blind second, 3 the one that decides.",
    "decision": "normal, anomaly, cannot_tell, or withdrawn for an undone decision.",
    "defects": "Defect classes, the most important first.",
    "note": "What the person wrote about it.",
    "source": "operator or import.",
    "decided_by": "Who decided.",
    "decided_at": "When, by the database's clock.",
    "took_milliseconds": "How long the person took.",
    "token": "Number of the lease it was decided under.",
    "lease_until": "When that lease would have ended.",
    "supersedes": "The decision this one stands in for; it stays on record.",
    "in_force": "Whether this is the label that holds now.",
}
COLUMNS = {"v_part_history": LABELS, "v_defect_history": LABELS, "v_operator_decisions": DECISIONS}

# Embeddings need the extension `vector`. Where it cannot be had, everything but the diverse order works; `adline db
# migrate` repeats this once an administrator has made it.
FURNISH = """
    CREATE PROCEDURE furnish_embeddings() LANGUAGE plpgsql AS $procedure$
    BEGIN
        IF to_regclass('embeddings') IS NOT NULL THEN
            RETURN;
        END IF;
        CREATE EXTENSION IF NOT EXISTS vector;
        CREATE TABLE embeddings (
            inspection_id uuid CONSTRAINT pk_embeddings PRIMARY KEY
                CONSTRAINT fk_embeddings_inspection_id REFERENCES inspections (id),
            model_version varchar NOT NULL
                CONSTRAINT fk_embeddings_model_version REFERENCES model_versions (id),
            embedding vector NOT NULL
        );
    EXCEPTION WHEN insufficient_privilege OR undefined_file OR feature_not_supported THEN
        RAISE NOTICE 'reviews cannot be ordered by diversity: %', SQLERRM;
    END $procedure$
"""


def one_of(name: str, *values: str) -> sa.Enum:
    return sa.Enum(*values, native_enum=False, create_constraint=True, length=16, name=name)


def upgrade() -> None:
    extend_reviews()
    create_label_tables()
    create_people_tables()
    op.create_foreign_key("fk_reviews_label_id", "reviews", "labels", ["label_id"], ["id"])
    forbid_changes()
    extend_views()
    op.execute(FURNISH)
    op.execute("CALL furnish_embeddings()")


def extend_reviews() -> None:
    """Leases, and what claims are ordered and filtered by; reviews that are there get theirs from their inspections."""
    for column in (
        sa.Column("opened_by", sa.String()),
        sa.Column("station", sa.String()),
        sa.Column("product", sa.String()),
        sa.Column("margin", sa.Float()),
        sa.Column("round", sa.BigInteger(), server_default="1", nullable=False),
        sa.Column("holder", sa.String()),
        sa.Column("claimed_at", TIME),
        sa.Column("free_at", TIME, server_default=sa.text("now()"), nullable=False),
        sa.Column("token", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("answered_by", sa.ARRAY(sa.String()), server_default="{}", nullable=False),
        sa.Column("label_id", sa.Uuid()),
        sa.Column("untold", sa.Boolean(), server_default="false", nullable=False),
    ):
        op.add_column("reviews", column)
    op.execute(
        """
        UPDATE reviews SET station = i.station, product = i.product, margin = coalesce(
            (SELECT abs(p.anomaly_score - p.ng_threshold) FROM predictions p WHERE p.inspection_id = i.id
             ORDER BY p.anomaly_score DESC LIMIT 1), 1)
        FROM inspections i WHERE i.id = reviews.inspection_id
        """
    )
    op.alter_column("reviews", "station", nullable=False)
    op.alter_column("reviews", "margin", nullable=False)
    op.create_foreign_key("fk_reviews_station", "reviews", "stations", ["station"], ["name"])
    op.execute("ALTER TABLE reviews SET (fillfactor = 80)")
    op.drop_index("ix_reviews_state_opened_at", "reviews")
    for keys in CLAIM_ORDERS:
        name = f"ix_reviews_open_{'_'.join(keys)}"
        op.create_index(name, "reviews", list(keys), postgresql_where=sa.text("state = 'open'"))
    op.create_index("ix_reviews_untold", "reviews", ["id"], postgresql_where=sa.text("untold"))


def create_label_tables() -> None:
    """What people decided."""
    op.create_table(
        "labels",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("review_id", sa.Uuid(), nullable=False),
        sa.Column("inspection_id", sa.Uuid(), nullable=False),
        sa.Column("round", sa.BigInteger(), nullable=False),
        sa.Column("opinion", sa.BigInteger(), nullable=False),
        sa.Column("decision", one_of("decision", "normal", "anomaly", "cannot_tell", "withdrawn"), nullable=False),
        sa.Column("defects", sa.ARRAY(sa.String()), nullable=False),
        sa.Column("note", sa.String(), nullable=False),
        sa.Column("source", one_of("labelsource", "operator", "import"), nullable=False),
        sa.Column("decided_by", sa.String(), nullable=False),
        sa.Column("decided_at", TIME, nullable=False),
        sa.Column("took_milliseconds", sa.BigInteger()),
        sa.Column("token", sa.BigInteger(), nullable=False),
        sa.Column("lease_until", TIME, nullable=False),
        sa.Column("supersedes", sa.Uuid()),
        sa.PrimaryKeyConstraint("id", name="pk_labels"),
        sa.ForeignKeyConstraint(["review_id"], ["reviews.id"], name="fk_labels_review_id"),
        sa.ForeignKeyConstraint(["inspection_id"], ["inspections.id"], name="fk_labels_inspection_id"),
        sa.ForeignKeyConstraint(["supersedes"], ["labels.id"], name="fk_labels_supersedes"),
        sa.UniqueConstraint("review_id", "token", name="uq_labels_review_id_token"),
        sa.CheckConstraint("supersedes IS NOT NULL OR decision <> 'withdrawn'", name="ck_labels_withdrawn"),
    )
    op.create_index("ix_labels_inspection_id", "labels", ["inspection_id"])
    op.create_index("ix_labels_decided_at", "labels", ["decided_at"])
    op.create_index("ix_labels_supersedes", "labels", ["supersedes"])
    op.create_table(
        "regions",
        sa.Column("label_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("inspection_id", sa.Uuid(), nullable=False),
        sa.Column("camera", sa.String(), nullable=False),
        sa.Column("kind", one_of("regionkind", "box", "polygon", "mask"), nullable=False),
        sa.Column("defect", sa.String()),
        sa.Column("points", JSONB()),
        sa.Column("mask_sha256", sa.String(64)),
        sa.PrimaryKeyConstraint("label_id", "number", name="pk_regions"),
        sa.ForeignKeyConstraint(["label_id"], ["labels.id"], name="fk_regions_label_id"),
        sa.ForeignKeyConstraint(
            ["inspection_id", "camera"],
            ["frames.inspection_id", "frames.camera"],
            name="fk_regions_inspection_id_camera",
        ),
        sa.CheckConstraint("(kind = 'mask') = (mask_sha256 IS NOT NULL)", name="ck_regions_mask"),
        sa.CheckConstraint("(kind = 'mask') = (points IS NULL)", name="ck_regions_points"),
    )


def create_people_tables() -> None:
    """The defect book, which people agree on, and what each wants to be asked."""
    book = op.create_table(
        "defect_classes",
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("definition", sa.String(), nullable=False),
        sa.Column("severity", one_of("severity", "minor", "major", "critical"), nullable=False),
        sa.Column("examples", sa.ARRAY(sa.String()), nullable=False),
        sa.Column("retired", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("written_by", sa.String(), nullable=False),
        sa.Column("written_at", TIME, server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_defect_classes"),
        sa.UniqueConstraint("name", "version", name="uq_defect_classes_name_version"),
    )
    op.create_table(
        "queue_filters",
        sa.Column("person", sa.String(), nullable=False),
        sa.Column("station", sa.String()),
        sa.Column("product", sa.String()),
        sa.Column("policy", sa.String()),
        sa.PrimaryKeyConstraint("person", name="pk_queue_filters"),
    )
    rows = [
        {
            "name": name,
            "version": 1,
            "definition": definition,
            "severity": severity,
            "examples": [],
            "written_by": "adline",
        }
        for name, (definition, severity) in DEFECTS.items()
    ]
    op.bulk_insert(book, rows)


def forbid_changes() -> None:
    for table in APPEND_ONLY:
        op.execute(
            f"CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
        )


HISTORY = """
    SELECT i.part_id, i.lot, i.product, i.id AS inspection_id, i.station, r.line, r.code_version,
           i.trigger_source, i.trigger_number, i.triggered_at,
           c.name AS recipe, c.version AS recipe_version, c.sha256 AS recipe_sha256,
           f.camera, f.captured_at, f.sha256, f.md5, f.media_type, f.width, f.height, f.source,
           p.model_version, m.sha256 AS model_sha256, p.anomaly_score, p.raw_score, p.ok_threshold,
           p.ng_threshold, p.map_sha256,
           v.verdict, v.reason, v.decided_at, v.recorded_at, v.stage_milliseconds,
           w.reason AS review_reason, w.state AS review_state
           {more}
    FROM inspections i
    JOIN line_runs r ON r.id = i.run_id
    JOIN recipes c ON c.id = i.recipe_id
    LEFT JOIN frames f ON f.inspection_id = i.id
    LEFT JOIN predictions p ON p.inspection_id = f.inspection_id AND p.camera = f.camera
    LEFT JOIN model_versions m ON m.id = p.model_version
    LEFT JOIN verdicts v ON v.inspection_id = i.id
    LEFT JOIN reviews w ON w.inspection_id = i.id
    {joined}
"""
MORE = """, l.decision AS label, l.defects AS label_defects, l.note AS label_note,
           l.decided_by AS labeled_by, l.decided_at AS labeled_at"""
JOINED = "LEFT JOIN labels l ON l.id = w.label_id"
DEFECT_HISTORY = "SELECT * FROM v_part_history WHERE verdict IN ('NG', 'REVIEW', 'ERROR')"


def extend_views() -> None:
    """New columns come last, so that what reads the views today reads them tomorrow."""
    op.execute(f"CREATE OR REPLACE VIEW v_part_history AS {HISTORY.format(more=MORE, joined=JOINED)}")
    op.execute(f"CREATE OR REPLACE VIEW v_defect_history AS {DEFECT_HISTORY}")
    op.execute(
        """
        CREATE VIEW v_operator_decisions AS
        SELECT i.part_id, i.lot, i.product, i.station, i.id AS inspection_id, w.id AS review_id,
               w.reason AS review_reason, v.verdict, v.anomaly_score, l.id AS label_id, l.round, l.opinion,
               l.decision, l.defects, l.note, l.source, l.decided_by, l.decided_at, l.took_milliseconds, l.token,
               l.lease_until, l.supersedes, l.id IS NOT DISTINCT FROM w.label_id AS in_force
        FROM labels l
        JOIN reviews w ON w.id = l.review_id
        JOIN inspections i ON i.id = l.inspection_id
        LEFT JOIN verdicts v ON v.inspection_id = l.inspection_id
        """
    )
    comment("VIEW", "v_operator_decisions", "One row for each decision of a person, undone ones included.")
    for view, columns in COLUMNS.items():
        for column, meaning in columns.items():
            comment("COLUMN", f"{view}.{column}", meaning)


def comment(kind: str, name: str, meaning: str) -> None:
    quoted = meaning.replace("'", "''")
    op.execute(f"COMMENT ON {kind} {name} IS '{quoted}'")


def downgrade() -> None:
    op.execute("DROP VIEW v_operator_decisions")
    narrow_views()
    op.execute("DROP TABLE IF EXISTS embeddings")
    op.execute("DROP PROCEDURE furnish_embeddings()")
    op.drop_constraint("fk_reviews_label_id", "reviews")
    for table in ("regions", "labels", "defect_classes", "queue_filters"):
        op.drop_table(table)
    op.drop_index("ix_reviews_untold", "reviews")
    for keys in CLAIM_ORDERS:
        op.drop_index(f"ix_reviews_open_{'_'.join(keys)}", "reviews")
    op.execute("ALTER TABLE reviews RESET (fillfactor)")
    for column in (
        *("untold", "label_id", "answered_by", "token", "free_at", "claimed_at", "holder"),
        *("round", "margin", "product", "station", "opened_by"),
    ):
        op.drop_column("reviews", column)
    op.create_index("ix_reviews_state_opened_at", "reviews", ["state", "opened_at"])


def narrow_views() -> None:
    """A view loses columns only by being made anew; what its other columns mean is kept."""
    kept = {view: meanings(view) for view in ("v_part_history", "v_defect_history")}
    op.execute("DROP VIEW v_defect_history")
    op.execute("DROP VIEW v_part_history")
    op.execute(f"CREATE VIEW v_part_history AS {HISTORY.format(more='', joined='')}")
    op.execute(f"CREATE VIEW v_defect_history AS {DEFECT_HISTORY}")
    for view, (meaning, columns) in kept.items():
        comment("VIEW", view, meaning)
        for column, said in columns.items():
            if column not in LABELS:
                comment("COLUMN", f"{view}.{column}", said)


def meanings(view: str) -> tuple[str, dict[str, str]]:
    said = op.get_bind().exec_driver_sql(f"SELECT obj_description('{view}'::regclass)").scalar_one()
    columns = op.get_bind().exec_driver_sql(
        "SELECT attname, col_description(attrelid, attnum) FROM pg_attribute "
        f"WHERE attrelid = '{view}'::regclass AND attnum > 0 AND NOT attisdropped"
    )
    return said, {name: meaning for name, meaning in columns}
