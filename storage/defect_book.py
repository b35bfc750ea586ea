"""The defect book: which kinds of defects people tell apart. Every version of an entry is kept."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from storage.errors import NotOnRecord
from storage.events import Fact
from storage.label_models import DefectClass, Severity
from storage.resolution import Name, Note, Sha256


class DefectEntry(Fact):
    """What an entry says; a changed one is a new version."""

    definition: Annotated[Note, Field(min_length=1, description="How to tell it, and what is not yet it.")]
    severity: Severity
    examples: Annotated[list[Sha256], Field(max_length=20)] = Field(default=[], description="Stored example pictures.")
    retired: bool = Field(default=False, description="No longer offered; labels that name it keep it.")


def book(session: Session) -> list[DefectClass]:
    """The entries as they hold now, in the order in which they were first written."""
    entries = session.scalars(select(DefectClass).order_by(DefectClass.number)).all()
    newest = {entry.name: entry for entry in entries}  # a later version takes the place of its first
    return list(newest.values())


def in_use(session: Session) -> set[str]:
    """The classes a label may name."""
    return {entry.name for entry in book(session) if not entry.retired}


def entry(session: Session, name: Name) -> DefectClass:
    newest = select(DefectClass).where(DefectClass.name == name).order_by(DefectClass.version.desc()).limit(1)
    if found := session.scalar(newest):
        return found
    raise NotOnRecord(f"there is no defect class {name!r}")


def write(session: Session, name: Name, facts: DefectEntry, person: str) -> DefectClass:
    """Add a class, or the next version of one."""
    session.execute(text("SELECT pg_advisory_xact_lock(hashtext('defect_classes'))"))
    newest = session.scalar(select(func.max(DefectClass.version)).where(DefectClass.name == name)) or 0
    row = DefectClass(name=name, version=1 + newest, written_by=person, **dict(facts))
    session.add(row)
    session.flush()
    session.refresh(row)
    return row
