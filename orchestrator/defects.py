"""What `adline defect` does to the defect book of a line, running or not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from orchestrator.archive import reading, writing
from orchestrator.configuration import Loaded
from orchestrator.users import console
from storage import defect_book
from storage.defect_book import DefectEntry
from storage.errors import DefectRefused, NotOnRecord
from storage.image_header import SUFFIXES
from storage.images import ImageStore, decode, describe
from storage.label_models import DefectClass, Severity
from storage.resolution import Name

NAME: TypeAdapter[str] = TypeAdapter(Name)
COLUMNS = ("name", "version", "severity", "retired", "definition", "examples", "written_by", "written_at")


def shown(entry: DefectClass) -> dict[str, Any]:
    return {column: getattr(entry, column) for column in COLUMNS}


def listed(loaded: Loaded) -> list[dict[str, Any]]:
    """The entries as they hold now, in the order of their keys."""
    with reading(loaded) as session:
        return [shown(entry) for entry in defect_book.book(session)]


def add(
    loaded: Loaded,
    name: str,
    definition: str | None,
    severity: Severity | None,
    examples: Sequence[Path],
) -> dict[str, Any]:
    """A new class; of one there is, a new version that is offered again, where what is not said stays."""
    stored = store_examples(loaded, examples)
    with writing(loaded) as session:
        before = known(defect_book.book(session), name)
        facts = {
            "definition": definition or (before and before.definition),
            "severity": severity or (before and before.severity),
            "examples": list(dict.fromkeys([*(before.examples if before else ()), *stored])),
        }
        if missing := [what for what in ("definition", "severity") if not facts[what]]:
            raise DefectRefused(f"{name!r} is not in the defect book yet: a new class needs {' and '.join(missing)}")
        return shown(defect_book.write(session, *checked(name, facts), console()))


def retire(loaded: Loaded, name: str) -> dict[str, Any]:
    """The class is no longer offered; labels that name it keep it."""
    with writing(loaded) as session:
        before = known(defect_book.book(session), name)
        if before is None:
            raise NotOnRecord(f"there is no defect class {name!r}")
        if before.retired:
            return shown(before)
        entry = DefectEntry.model_validate(before, from_attributes=True).model_copy(update={"retired": True})
        return shown(defect_book.write(session, name, entry, console()))


def known(book: Sequence[DefectClass], name: str) -> DefectClass | None:
    return next((entry for entry in book if entry.name == name), None)


def checked(name: str, facts: dict[str, Any]) -> tuple[str, DefectEntry]:
    try:
        return NAME.validate_python(name), DefectEntry.model_validate(facts)
    except ValidationError as error:
        places = (f"{'.'.join(map(str, one['loc'])) or 'name'}: {one['msg']}" for one in error.errors())
        raise DefectRefused("; ".join(places)) from error


def store_examples(loaded: Loaded, files: Sequence[Path]) -> list[str]:
    """Their SHA-256, once all of them are pictures and stored for good."""
    pictures = [file.read_bytes() for file in files]
    for picture in pictures:
        decode(picture)
    store = ImageStore(loaded.home / "images", loaded.settings.images.minimum_free_megabytes << 20)
    stored = [store.put(picture, SUFFIXES[describe(picture).media_type]).sha256 for picture in pictures]
    store.make_durable(stored)
    return stored
