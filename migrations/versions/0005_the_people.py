"""The people: users and their roles, sessions, tokens, tries to sign in, and the record of all of it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)
ROLES = ("operator", "engineer", "auditor", "admin")
FACTS = (
    *("signed_in", "signed_out", "sign_in_refused", "sign_in_limited", "user_added", "user_removed"),
    *("role_changed", "password_changed", "token_added", "token_revoked"),
)
SECRET = ("passwords", "sessions", "api_tokens", "sign_in_tries")
VIEWS = {"v_people_history": "Who signed in or was refused, and who changed whose rights."}
COLUMNS = {
    "v_people_history": {
        "happened_at": "When.",
        "what": "signed_in, signed_out, sign_in_refused (wrong password or no such user), sign_in_limited (too many "
        "tries), user_added, user_removed, role_changed, password_changed, token_added or token_revoked.",
        "user_name": "Whom it is about; null when nobody has the name that was typed.",
        "role": "The role this user has now.",
        "done_by": "Who did it: a user, or console:<system account> for `adline user`.",
        "address": "Network address it came from; null on the console.",
        "detail": "What was so before and after, or which token.",
    }
}


def upgrade() -> None:
    create_tables()
    create_history()
    # The auditor may read every table. It does not own these, and without a policy it sees none of their rows.
    for table in SECRET:
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")


def create_tables() -> None:
    op.create_table(
        "users",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("role", one_of("role", *ROLES), nullable=False),
        sa.Column("created_at", TIME, server_default=sa.text("now()"), nullable=False),
        sa.Column("removed_at", TIME),
        sa.PrimaryKeyConstraint("name", name="pk_users"),
    )
    op.create_table(
        "passwords",
        sa.Column("user_name", sa.String(), nullable=False),
        sa.Column("hash", sa.String(), nullable=False),
        sa.Column("changed_at", TIME, server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("user_name", name="pk_passwords"),
        user_key("passwords"),
    )
    op.create_table(
        "sessions",
        sa.Column("token_sha256", sa.String(64), nullable=False),
        sa.Column("user_name", sa.String(), nullable=False),
        sa.Column("device_sha256", sa.String(64), nullable=False),
        sa.Column("address", sa.String(), nullable=False),
        sa.Column("started_at", TIME, server_default=sa.text("now()"), nullable=False),
        sa.Column("seen_at", TIME, server_default=sa.text("now()"), nullable=False),
        sa.Column("ended_at", TIME),
        sa.PrimaryKeyConstraint("token_sha256", name="pk_sessions"),
        user_key("sessions"),
    )
    op.create_index("ix_sessions_user_name_device_sha256", "sessions", ["user_name", "device_sha256"])
    op.create_table(
        "api_tokens",
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("token_sha256", sa.String(64), nullable=False),
        sa.Column("user_name", sa.String(), nullable=False),
        sa.Column("label", sa.String(), nullable=False),
        sa.Column("created_at", TIME, server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", TIME),
        sa.Column("used_at", TIME),
        sa.Column("revoked_at", TIME),
        sa.PrimaryKeyConstraint("id", name="pk_api_tokens"),
        sa.UniqueConstraint("token_sha256", name="uq_api_tokens_token_sha256"),
        user_key("api_tokens"),
    )
    op.create_index("ix_api_tokens_user_name", "api_tokens", ["user_name"])
    op.create_table(
        "sign_in_tries",
        sa.Column("key", sa.String(64), nullable=False),
        sa.Column("tries", sa.BigInteger(), nullable=False),
        sa.Column("tried_at", TIME, nullable=False),
        sa.Column("limited_at", TIME),
        sa.PrimaryKeyConstraint("key", name="pk_sign_in_tries"),
    )
    op.create_index("ix_sign_in_tries_tried_at", "sign_in_tries", ["tried_at"])


def create_history() -> None:
    """Append-only, as all history is; `refuse_change` came with the first migration."""
    op.create_table(
        "people_events",
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("happened_at", TIME, server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("what", one_of("peoplefact", *FACTS), nullable=False),
        sa.Column("user_name", sa.String()),
        sa.Column("done_by", sa.String(), nullable=False),
        sa.Column("address", sa.String()),
        sa.Column("detail", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_people_events"),
        user_key("people_events"),
    )
    op.create_index("ix_people_events_happened_at", "people_events", ["happened_at"])
    op.create_index("ix_people_events_user_name", "people_events", ["user_name"])
    op.execute(
        "CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON people_events "
        "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
    )
    op.execute(
        """
        CREATE VIEW v_people_history AS
        SELECT e.happened_at, e.what, e.user_name, u.role, e.done_by, e.address, e.detail
        FROM people_events e LEFT JOIN users u ON u.name = e.user_name
        """
    )
    for view, columns in COLUMNS.items():
        comment("VIEW", view, VIEWS[view])
        for column, meaning in columns.items():
            comment("COLUMN", f"{view}.{column}", meaning)


def one_of(name: str, *values: str) -> sa.Enum:
    return sa.Enum(*values, native_enum=False, create_constraint=True, length=16, name=name)


def user_key(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["user_name"], ["users.name"], name=f"fk_{table}_user_name")


def comment(kind: str, name: str, meaning: str) -> None:
    quoted = meaning.replace("'", "''")
    op.execute(f"COMMENT ON {kind} {name} IS '{quoted}'")


def downgrade() -> None:
    op.execute("DROP VIEW v_people_history")
    for table in ("people_events", *SECRET, "users"):
        op.drop_table(table)
