"""Labels in and out of a line's records, running or not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.archive import require
from orchestrator.configuration import Loaded
from orchestrator.queue_routes import rules
from orchestrator.services import services
from orchestrator.users import console
from storage.database import Database, check_schema
from storage.images import ImageStore
from storage.stream import EventLog
from workers.labeling import exchange
from workers.labeling.exchange import Format
from workers.labeling.importing import Imported, export_labels, import_labels
from workers.labeling.queue import Queue


@contextmanager
def queue_of(loaded: Loaded) -> Iterator[Queue]:
    """The queue of this folder's records; what is embedded is started for as long as needed, and never made."""
    settings = loaded.settings
    if not settings.database.url:
        require(loaded.home, loaded.home / "postgres" / "data")
    with services(loaded.home, settings.database.url, settings.stream.url) as used:
        check_schema(used.database_url)
        database, log = Database(used.database_url, pool_size=2), EventLog(used.stream_url)
        store = ImageStore(loaded.home / "images", settings.images.minimum_free_megabytes << 20)
        try:
            yield Queue(database, log, store, rules(settings.labeling))
        finally:
            log.close()
            database.close()


def export(loaded: Loaded, out: Path, format: Format) -> tuple[int, list[str]]:
    """How many images were written, and what the format has no place for."""
    with queue_of(loaded) as queue:
        labels = export_labels(queue)
        return len(labels), exchange.write(queue.store, labels, out, format)


def bring_in(loaded: Loaded, path: Path, format: Format) -> Imported:
    """Each row that fits a recorded part is put on record, in the name of who sits at the terminal."""
    with queue_of(loaded) as queue:
        return import_labels(queue, console(), exchange.read(path, format), format)
