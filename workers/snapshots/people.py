"""What the labels themselves say against a label: people who disagree, views that show no defect."""

from __future__ import annotations

from storage.snapshot_models import AsideReason, ItemSource
from workers.snapshots.row import Row


def faults(row: Row) -> dict[AsideReason, str]:
    """Why this image's label cannot simply be believed, in words."""
    found = {}
    if row.problem is not None:
        found[AsideReason.UNREADABLE] = row.problem
    if disagrees(row):
        said = ", ".join(f"{person} {word(is_anomaly)}" for person, is_anomaly in row.said)
        found[AsideReason.DISAGREEMENT] = f"in force is {word(row.is_anomaly)}, which most do not say: {said}"
    if row.is_anomaly and row.source is ItemSource.TAUGHT:
        found[AsideReason.CONTRADICTION] = "the recipe is taught from it as known-good, and it is labelled anomaly"
    if row.is_anomaly and row.marked_elsewhere:
        found[AsideReason.OTHER_VIEW] = "the defect is marked on other views of the part alone"
    return found


def disagrees(row: Row) -> bool:
    """Of several people who could tell, no majority says what is in force."""
    verdicts = [is_anomaly for _, is_anomaly in row.said]
    return len(set(verdicts)) > 1 and 2 * verdicts.count(row.is_anomaly) <= len(verdicts)


def word(is_anomaly: bool) -> str:
    return "anomaly" if is_anomaly else "normal"
