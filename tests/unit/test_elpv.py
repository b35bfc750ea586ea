from __future__ import annotations

from pathlib import Path

import pytest

from storage.errors import DatasetMissing, TeachingFailed
from workers import elpv


def test_the_dataset_has_the_published_numbers_of_cells() -> None:
    assert [len(elpv.cells(kind)) for kind in ("mono", "poly", "all")] == [1074, 1550, 2624]
    assert sum(cell.good for cell in elpv.cells("mono")) == 588
    assert {cell.probability for cell in elpv.cells("all")} == {0.0, 1 / 3, 2 / 3, 1.0}
    assert elpv.cells("mono")[0].path.is_file()


def test_no_cell_that_was_taught_is_replayed() -> None:
    taught = {cell.path for cell in elpv.taught_cells("mono", 200, 0)}
    replayed = elpv.replayed_cells("mono", shuffled=True, seed=1, taught_cells="mono", taught_count=200, taught_seed=0)
    assert len(taught) == 200
    assert len(replayed) == 874
    assert taught.isdisjoint(cell.path for cell in replayed)


def test_a_cell_that_a_model_was_taught_from_under_other_settings_is_not_replayed_either() -> None:
    """A plain start taught 400 cells, `--oracle` would teach 300: the camera hides what was taught, all of it."""
    before = {cell.path for cell in elpv.taught_cells("mono", 400, 0)}
    by_path = {cell.path: sha256 for sha256, cell in elpv.cells_by_image().items()}
    for hidden in ({by_path[path] for path in before}, {path.name for path in before}):
        replayed = elpv.replayed_cells(
            "mono", shuffled=True, seed=1, taught_cells="mono", taught_count=300, taught_seed=0, hidden=hidden
        )
        assert before.isdisjoint(cell.path for cell in replayed)
        assert len(replayed) == 1074 - len(before | {cell.path for cell in elpv.taught_cells("mono", 300, 0)})


def test_a_seed_always_gives_the_same_cells() -> None:
    assert elpv.taught_cells("mono", 30, 5) == elpv.taught_cells("mono", 30, 5)
    assert elpv.taught_cells("mono", 30, 5) != elpv.taught_cells("mono", 30, 6)


def test_more_good_cells_than_there_are_cannot_be_taught() -> None:
    with pytest.raises(TeachingFailed, match="589 known-good mono cells are asked for; the dataset has 588"):
        elpv.taught_cells("mono", 589, 0)


def test_a_missing_dataset_is_answered_with_how_to_install_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(elpv, "find_spec", lambda name: None)
    with pytest.raises(DatasetMissing, match=r"pip install 'adline\[demo\]'"):
        elpv.cells("mono")
