"""Dataset snapshots: immutable, hashed, split by part; the protected pool, challenge parts, and what was set aside."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)
NOW = sa.text("now()")
SPLITS = ("train", "validation", "test", "challenge")
REASONS = (
    *("disagreement", "contradiction", "other_view", "blurred", "misexposed", "unreadable"),
    *("near_duplicate", "unlike_alike", "operator_shift"),
)
APPEND_ONLY = (
    *("dataset_snapshots", "snapshot_items", "set_aside", "set_aside_releases", "pool_parts", "challenge_parts"),
)
VIEWS = {
    "v_snapshot_items": "Which image is in which dataset snapshot, for what, with whose label.",
    "v_set_aside": "Which image a snapshot put before an engineer, why, and whether somebody released it.",
    "v_protected_parts": "The parts of each recipe that no training may see: the test pool and the challenge parts.",
}
ITEMS = {
    "snapshot": "Name of the snapshot.",
    "snapshot_sha256": "SHA-256 of the snapshot's manifest as canonical JSON.",
    "recipe": "Recipe it was made for.",
    "parent": "The recipe's snapshot before it.",
    "created_at": "When the snapshot was made.",
    "created_by": "Who made it.",
    "unfit": "Why no model may be trained from it; null when one may.",
    "sha256": "SHA-256 of the image.",
    "md5": "MD5 of the same bytes.",
    "camera": "Camera that delivered it; null for an image the recipe is taught from.",
    "inspection_id": "Inspection it is from; null for an image the recipe is taught from.",
    "part_key": "What images of one part share: part:<part_id> or image:<sha256>.",
    "part_id": "Serial number of the part.",
    "lot": "Batch the part belongs to.",
    "split": "train, validation, test (the protected pool) or challenge.",
    "is_anomaly": "Whether it counts as defective.",
    "defects": "Defect classes of the label, the most important first.",
    "regions": "Where the defects are, in pixels; masks by SHA-256 and MD5.",
    "source": "operator: a person decided it; taught: the recipe is taught from it as known-good.",
    "label_id": "The decision, as in v_operator_decisions.",
    "decided_by": "Who decided.",
    "decided_at": "When.",
}
ASIDE = {
    "snapshot": "Snapshot that set it aside.",
    "recipe": "Recipe of the snapshot.",
    "sha256": "SHA-256 of the image.",
    "part_key": "Its part.",
    "reason": "Why: labels disagree or contradict, blurred, misexposed, a near-duplicate, unlike its like, and so on.",
    "detail": "The same in words and figures.",
    "is_anomaly": "What its label says.",
    "label_id": "The label.",
    "decided_by": "Who decided it.",
    "used": "True where it stayed in the protected pool all the same.",
    "released_at": "When an engineer released it under this label; null while nobody did.",
    "released_by": "Who released it.",
    "release_reason": "Why.",
}
PROTECTED = {
    "recipe": "Recipe the protection holds for.",
    "part_key": "part:<part_id> or image:<sha256>.",
    "kind": "test pool or challenge.",
    "since": "From when.",
    "snapshot": "Snapshot in which it joined the pool; null for a challenge part.",
    "added_by": "Who made it a challenge part; null for the pool.",
    "reason": "Why; null for the pool.",
}
COLUMNS = {"v_snapshot_items": ITEMS, "v_set_aside": ASIDE, "v_protected_parts": PROTECTED}

# What the code sees to, the database sees to as well: no path leads from the pool or a challenge part into a training
# split, nor back.
GUARDS = """
    CREATE FUNCTION refuse_protected_in_training() RETURNS trigger LANGUAGE plpgsql AS $function$
    DECLARE
        seen record;
    BEGIN
        SELECT a.part_key, a.snapshot INTO seen FROM added a JOIN dataset_snapshots s ON s.name = a.snapshot
        WHERE a.split IN ('train', 'validation') AND (
            EXISTS (SELECT FROM pool_parts p WHERE p.recipe = s.recipe
                    AND p.part_key IN (a.part_key, 'image:' || a.sha256))
            OR EXISTS (SELECT FROM challenge_parts c WHERE c.recipe = s.recipe
                    AND c.part_key IN (a.part_key, 'image:' || a.sha256)))
        LIMIT 1;
        IF FOUND THEN
            RAISE EXCEPTION 'part % is protected: no training may see it', seen.part_key
                USING ERRCODE = 'restrict_violation';
        END IF;
        RETURN NULL;
    END $function$;
    CREATE FUNCTION refuse_protecting_trained() RETURNS trigger LANGUAGE plpgsql AS $function$
    DECLARE
        seen record;
    BEGIN
        SELECT a.part_key, i.snapshot INTO seen FROM added a
        JOIN LATERAL (
            SELECT snapshot, split FROM snapshot_items WHERE part_key = a.part_key
            UNION ALL
            SELECT snapshot, split FROM snapshot_items
            WHERE a.part_key LIKE 'image:%' AND sha256 = substr(a.part_key, 7)
        ) i ON i.split IN ('train', 'validation')
        JOIN dataset_snapshots s ON s.name = i.snapshot AND s.recipe = a.recipe
        LIMIT 1;
        IF FOUND THEN
            RAISE EXCEPTION 'part % was in the training data of %: it cannot be protected any more',
                seen.part_key, seen.snapshot USING ERRCODE = 'restrict_violation';
        END IF;
        RETURN NULL;
    END $function$;
    CREATE TRIGGER protected AFTER INSERT ON snapshot_items REFERENCING NEW TABLE AS added
        FOR EACH STATEMENT EXECUTE FUNCTION refuse_protected_in_training();
    CREATE TRIGGER trained AFTER INSERT ON pool_parts REFERENCING NEW TABLE AS added
        FOR EACH STATEMENT EXECUTE FUNCTION refuse_protecting_trained();
    CREATE TRIGGER trained AFTER INSERT ON challenge_parts REFERENCING NEW TABLE AS added
        FOR EACH STATEMENT EXECUTE FUNCTION refuse_protecting_trained()
"""


def upgrade() -> None:
    create_snapshots()
    create_protection()
    create_looks()
    for table in APPEND_ONLY:
        op.execute(
            f"CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
        )
    op.execute(GUARDS)
    create_views()


def create_snapshots() -> None:
    op.create_table(
        "dataset_snapshots",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("recipe", sa.String(), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("description", sa.String(), nullable=False),
        sa.Column("parent", sa.String()),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("policy", JSONB(), nullable=False),
        sa.Column("counts", JSONB(), nullable=False),
        sa.Column("unfit", sa.String()),
        sa.Column("code_version", sa.String(), nullable=False),
        sa.Column("created_at", TIME, server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("created_by", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_dataset_snapshots"),
    )
    op.create_index("ix_dataset_snapshots_recipe_created_at", "dataset_snapshots", ["recipe", "created_at"])
    op.create_table(
        "snapshot_items",
        sa.Column("snapshot", sa.String(), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("md5", sa.String(32), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("media_type", sa.String(), nullable=False),
        sa.Column("width", sa.BigInteger(), nullable=False),
        sa.Column("height", sa.BigInteger(), nullable=False),
        sa.Column("camera", sa.String()),
        sa.Column("inspection_id", sa.Uuid()),
        sa.Column("part_key", sa.String(), nullable=False),
        sa.Column("part_id", sa.String()),
        sa.Column("lot", sa.String()),
        sa.Column("split", one_of("split", *SPLITS), nullable=False),
        sa.Column("is_anomaly", sa.Boolean(), nullable=False),
        sa.Column("defects", sa.ARRAY(sa.String()), nullable=False),
        sa.Column("regions", JSONB(), nullable=False),
        sa.Column("source", one_of("itemsource", "operator", "taught"), nullable=False),
        sa.Column("label_id", sa.Uuid()),
        sa.Column("decided_by", sa.String()),
        sa.Column("decided_at", TIME),
        sa.PrimaryKeyConstraint("snapshot", "sha256", name="pk_snapshot_items"),
        snapshot_key("snapshot_items"),
    )
    for column in ("sha256", "part_key", "label_id"):
        op.create_index(f"ix_snapshot_items_{column}", "snapshot_items", [column])
    op.create_table(
        "set_aside",
        sa.Column("snapshot", sa.String(), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("reason", one_of("asidereason", *REASONS), nullable=False),
        sa.Column("part_key", sa.String(), nullable=False),
        sa.Column("is_anomaly", sa.Boolean()),
        sa.Column("label_id", sa.Uuid()),
        sa.Column("decided_by", sa.String()),
        sa.Column("detail", sa.String(), nullable=False),
        sa.Column("used", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("snapshot", "sha256", "reason", name="pk_set_aside"),
        snapshot_key("set_aside"),
    )
    op.create_index("ix_set_aside_sha256", "set_aside", ["sha256"])
    op.create_table(
        "set_aside_releases",
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("recipe", sa.String(), nullable=False),
        sa.Column("snapshot", sa.String(), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("label_id", sa.Uuid()),
        sa.Column("released_by", sa.String(), nullable=False),
        sa.Column("released_at", TIME, server_default=NOW, nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_set_aside_releases"),
        snapshot_key("set_aside_releases"),
    )
    op.create_index("ix_set_aside_releases_recipe_sha256", "set_aside_releases", ["recipe", "sha256"])


def create_protection() -> None:
    op.create_table(
        "pool_parts",
        sa.Column("recipe", sa.String(), nullable=False),
        sa.Column("part_key", sa.String(), nullable=False),
        sa.Column("snapshot", sa.String(), nullable=False),
        sa.Column("joined_at", TIME, server_default=NOW, nullable=False),
        sa.PrimaryKeyConstraint("recipe", "part_key", name="pk_pool_parts"),
        snapshot_key("pool_parts"),
    )
    op.create_table(
        "challenge_parts",
        sa.Column("recipe", sa.String(), nullable=False),
        sa.Column("part_key", sa.String(), nullable=False),
        sa.Column("added_at", TIME, server_default=NOW, nullable=False),
        sa.Column("added_by", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("recipe", "part_key", name="pk_challenge_parts"),
    )


def create_looks() -> None:
    op.create_table(
        "image_looks",
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("method", sa.String(), nullable=False),
        sa.Column("sharpness", sa.Float()),
        sa.Column("brightness", sa.Float()),
        sa.Column("clipped", sa.Float()),
        sa.Column("perceptual_hash", sa.String(16)),
        sa.Column("embedding", sa.LargeBinary()),
        sa.Column("problem", sa.String()),
        sa.PrimaryKeyConstraint("sha256", "method", name="pk_image_looks"),
        sa.CheckConstraint("(problem IS NULL) = (embedding IS NOT NULL)", name="ck_image_looks_measured"),
    )


def create_views() -> None:
    op.execute(
        """
        CREATE VIEW v_snapshot_items AS
        SELECT s.name AS snapshot, s.sha256 AS snapshot_sha256, s.recipe, s.parent, s.created_at, s.created_by, s.unfit,
               i.sha256, i.md5, i.camera, i.inspection_id, i.part_key, i.part_id, i.lot, i.split, i.is_anomaly,
               i.defects, i.regions, i.source, i.label_id, i.decided_by, i.decided_at
        FROM dataset_snapshots s JOIN snapshot_items i ON i.snapshot = s.name
        """
    )
    op.execute(
        """
        CREATE VIEW v_set_aside AS
        SELECT a.snapshot, s.recipe, a.sha256, a.part_key, a.reason, a.detail, a.is_anomaly, a.label_id, a.decided_by,
               a.used, r.released_at, r.released_by, r.reason AS release_reason
        FROM set_aside a JOIN dataset_snapshots s ON s.name = a.snapshot
        LEFT JOIN LATERAL (
            SELECT * FROM set_aside_releases r WHERE r.recipe = s.recipe AND r.sha256 = a.sha256
                AND r.label_id IS NOT DISTINCT FROM a.label_id ORDER BY r.number LIMIT 1
        ) r ON true
        """
    )
    op.execute(
        """
        CREATE VIEW v_protected_parts AS
        SELECT recipe, part_key, 'test pool' AS kind, joined_at AS since, snapshot,
               CAST(NULL AS varchar) AS added_by, CAST(NULL AS varchar) AS reason FROM pool_parts
        UNION ALL
        SELECT recipe, part_key, 'challenge', added_at, NULL, added_by, reason FROM challenge_parts
        """
    )
    for view, columns in COLUMNS.items():
        comment("VIEW", view, VIEWS[view])
        for column, meaning in columns.items():
            comment("COLUMN", f"{view}.{column}", meaning)


def one_of(name: str, *values: str) -> sa.Enum:
    return sa.Enum(*values, native_enum=False, create_constraint=True, length=16, name=name)


def snapshot_key(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["snapshot"], ["dataset_snapshots.name"], name=f"fk_{table}_snapshot")


def comment(kind: str, name: str, meaning: str) -> None:
    quoted = meaning.replace("'", "''")
    op.execute(f"COMMENT ON {kind} {name} IS '{quoted}'")


def downgrade() -> None:
    for view in VIEWS:
        op.execute(f"DROP VIEW {view}")
    for table in ("image_looks", "challenge_parts", "pool_parts", "set_aside_releases", "set_aside", "snapshot_items"):
        op.drop_table(table)
    op.drop_table("dataset_snapshots")
    op.execute("DROP FUNCTION refuse_protected_in_training()")
    op.execute("DROP FUNCTION refuse_protecting_trained()")
