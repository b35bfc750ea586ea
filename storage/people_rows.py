"""The rows about people: who may do what, how they show who they are, and what became of it."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from sqlalchemy import ForeignKey, Index, String, func
from sqlalchemy.orm import Mapped, mapped_column

from storage.models import Base, values_of

USER = "users.name"


class Role(StrEnum):
    """What a person does in the plant; orchestrator.person says what each may."""

    OPERATOR = "operator"
    ENGINEER = "engineer"
    AUDITOR = "auditor"
    ADMIN = "admin"


class PeopleFact(StrEnum):
    """What people_events tells."""

    SIGNED_IN = "signed_in"
    SIGNED_OUT = "signed_out"
    SIGN_IN_REFUSED = "sign_in_refused"
    SIGN_IN_LIMITED = "sign_in_limited"
    USER_ADDED = "user_added"
    USER_REMOVED = "user_removed"
    ROLE_CHANGED = "role_changed"
    PASSWORD_CHANGED = "password_changed"
    TOKEN_ADDED = "token_added"
    TOKEN_REVOKED = "token_revoked"
    REFUSED = "refused"


class User(Base):
    """A person or a program with a name; never deleted, because the records name it."""

    __tablename__ = "users"

    name: Mapped[str] = mapped_column(primary_key=True)
    role: Mapped[Role] = mapped_column(values_of(Role))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    removed_at: Mapped[datetime | None]


class Password(Base):
    """The argon2 hash of a person's password; programs have none."""

    __tablename__ = "passwords"

    user_name: Mapped[str] = mapped_column(ForeignKey(USER), primary_key=True)
    hash: Mapped[str]
    changed_at: Mapped[datetime] = mapped_column(server_default=func.now())


class SignIn(Base):
    """One sign-in of a browser, until it ends or is not used for too long. Only the token's SHA-256 is kept."""

    __tablename__ = "sessions"
    __table_args__ = (Index(None, "user_name", "device_sha256"),)

    token_sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    user_name: Mapped[str] = mapped_column(ForeignKey(USER))
    device_sha256: Mapped[str] = mapped_column(String(64))  # a browser that is known is not locked out by others
    address: Mapped[str]
    started_at: Mapped[datetime] = mapped_column(server_default=func.now())
    seen_at: Mapped[datetime] = mapped_column(server_default=func.now())
    ended_at: Mapped[datetime | None]


class ApiToken(Base):
    """What a program shows instead of a password; it may do what its user may."""

    __tablename__ = "api_tokens"
    __table_args__ = (Index(None, "user_name"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    token_sha256: Mapped[str] = mapped_column(String(64), unique=True)
    user_name: Mapped[str] = mapped_column(ForeignKey(USER))
    label: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime | None]
    used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class SignInTry(Base):
    """How often somebody tried of late; the key is a hash, as people type passwords where the name belongs."""

    __tablename__ = "sign_in_tries"
    __table_args__ = (Index(None, "tried_at"),)

    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    tries: Mapped[int]
    tried_at: Mapped[datetime]
    limited_at: Mapped[datetime | None]


class PeopleEvent(Base):
    """Who signed in, what was refused to whom, and who changed whose rights. Append-only."""

    __tablename__ = "people_events"
    __table_args__ = (Index(None, "happened_at"), Index(None, "user_name"))

    id: Mapped[int] = mapped_column(primary_key=True)
    happened_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    what: Mapped[PeopleFact] = mapped_column(values_of(PeopleFact))
    user_name: Mapped[str | None] = mapped_column(ForeignKey(USER))  # null: nobody has the name that was typed
    done_by: Mapped[str]
    address: Mapped[str | None]
    detail: Mapped[str]


SECRET_TABLES = tuple(row.__tablename__ for row in (Password, SignIn, ApiToken, SignInTry))
"""Tables whose rows the auditor's questions do not see."""
