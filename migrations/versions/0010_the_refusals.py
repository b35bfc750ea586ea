"""The record of people tells also what was refused to whom."""

from __future__ import annotations

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

BEFORE = (
    *("signed_in", "signed_out", "sign_in_refused", "sign_in_limited", "user_added", "user_removed"),
    *("role_changed", "password_changed", "token_added", "token_revoked"),
)
VIEW = {
    True: "Who signed in, what was refused to whom, and who changed whose rights.",
    False: "Who signed in or was refused, and who changed whose rights.",
}
WHAT = {
    True: "signed_in, signed_out, sign_in_refused (wrong password or no such user), sign_in_limited (too many tries), "
    "user_added, user_removed, role_changed, password_changed, token_added, token_revoked or refused (the role does "
    "not allow it, or a page of another site sent it; the same within a minute is one row).",
    False: "signed_in, signed_out, sign_in_refused (wrong password or no such user), sign_in_limited (too many "
    "tries), user_added, user_removed, role_changed, password_changed, token_added or token_revoked.",
}


def upgrade() -> None:
    allow(*BEFORE, "refused")
    say(refusals=True)


def allow(*facts: str, valid: str = "") -> None:
    quoted = ", ".join(f"'{fact}'" for fact in facts)
    op.execute("ALTER TABLE people_events DROP CONSTRAINT ck_people_events_peoplefact")
    op.execute(
        f"ALTER TABLE people_events ADD CONSTRAINT ck_people_events_peoplefact CHECK (what IN ({quoted})) {valid}"
    )


def say(refusals: bool) -> None:
    op.execute(f"COMMENT ON VIEW v_people_history IS '{VIEW[refusals]}'")
    op.execute(f"COMMENT ON COLUMN v_people_history.what IS '{WHAT[refusals]}'")


def downgrade() -> None:
    # Rows that are there stay: they take inserts only. No new ones come.
    allow(*BEFORE, valid="NOT VALID")
    say(refusals=False)
