"""The causes of drift on real solar cells."""

from __future__ import annotations

from workers.datasets.drift_trial import drift_trial


def test_light_focus_position_and_worse_parts_are_told_apart_on_real_cells() -> None:
    found = drift_trial("mono", frames=80, seeds=20, image_size=128, progress=lambda step: None).record()
    assert all(right >= 18 for right in found["right"].values()), found["said"]
    assert "the parts got worse" in found["sentences"]["parts"]
