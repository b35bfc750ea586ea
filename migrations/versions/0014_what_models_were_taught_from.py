"""Which images a model version was taught from, the first model's too; and which worker made a prediction."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

IMAGES = {
    "model_version": "Model version that was taught or trained from the image.",
    "recipe": "Recipe of the version.",
    "snapshot": "Dataset snapshot the image was in; null for what the first model of a recipe was taught from.",
    "sha256": "SHA-256 of the image; null where a first model was taught before it was written down.",
    "image": "File name of an image that the first model was taught from.",
    "split": "train or validation.",
    "part_key": "part:<part_id>, image:<sha256>, or group:<name> for images that the settings say show one part.",
    "is_anomaly": "Whether it counted as defective.",
    "defects": "Defect classes of the label.",
    "source": "operator: a person decided it; taught: known-good, as the recipe's settings say.",
    "label_id": "The decision, as in v_operator_decisions.",
    "decided_by": "Who decided.",
    "decided_at": "When.",
}
COLUMNS = {
    "v_model_images": IMAGES,
    "v_part_model": {
        "worker": "Inference worker that scored it, as in v_model_swaps; null where nobody wrote it down."
    },
}
PART_MODEL = """
    SELECT i.part_id, i.lot, i.station, i.id AS inspection_id, c.name AS recipe, f.camera,
           f.sha256 AS frame_sha256, v.verdict, v.decided_at, p.model_version, m.sha256 AS model_sha256,
           m.snapshot, m.training_run, p.anomaly_score, p.ok_threshold, p.ng_threshold,
           coalesce(t.set_by, 'calibration') AS thresholds_by, t.reason AS thresholds_reason,
           d.alias, d.id AS deployment_id, d.deployed_at, d.deployed_by, d.approved_by,
           d.reason AS deployed_reason{more}
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


def upgrade() -> None:
    op.add_column("predictions", sa.Column("worker", sa.String()))
    op.execute(f"CREATE OR REPLACE VIEW v_part_model AS {PART_MODEL.format(more=', p.worker')}")
    op.execute(
        """
        CREATE VIEW v_model_images AS
        SELECT m.id AS model_version, m.recipe, i.snapshot, i.sha256, CAST(NULL AS varchar) AS image, i.split,
               i.part_key, i.is_anomaly, i.defects, i.source, i.label_id, i.decided_by, i.decided_at
        FROM model_versions m
        JOIN snapshot_items i ON i.snapshot = m.snapshot AND i.split IN ('train', 'validation')
        UNION ALL
        SELECT m.id, m.recipe, NULL, t.one ->> 'sha256',
               CASE jsonb_typeof(t.one) WHEN 'string' THEN t.one #>> '{}' ELSE t.one ->> 'image' END, 'train',
               coalesce('group:' || (t.one ->> 'group'), 'image:' || (t.one ->> 'sha256')), false, '{}', 'taught',
               NULL, NULL, NULL
        FROM model_versions m
        CROSS JOIN LATERAL jsonb_array_elements(
            CASE jsonb_typeof(m.configuration -> 'taught_from') WHEN 'array' THEN m.configuration -> 'taught_from'
                 ELSE '[]' END
        ) AS t (one)
        """
    )
    comment("VIEW", "v_model_images", "One row for each image that a model version was taught or trained from.")
    for view, columns in COLUMNS.items():
        for column, meaning in columns.items():
            comment("COLUMN", f"{view}.{column}", meaning)


def comment(kind: str, name: str, meaning: str) -> None:
    quoted = meaning.replace("'", "''")
    op.execute(f"COMMENT ON {kind} {name} IS '{quoted}'")


def downgrade() -> None:
    op.execute("DROP VIEW v_model_images")
    narrow_part_model()
    op.drop_column("predictions", "worker")


def narrow_part_model() -> None:
    """A view loses columns only by being made anew; what it and its other columns mean is kept."""
    view = "v_part_model"
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
    op.execute(f"CREATE VIEW {view} AS {PART_MODEL.format(more='')}")
    comment("VIEW", view, meaning)
    for column, said in columns:
        if column not in COLUMNS[view]:
            comment("COLUMN", f"{view}.{column}", said)
