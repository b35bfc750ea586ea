"""Features on disk: what is read is what was written, or nothing."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from workers.retrain.feature_cache import Arrays, FeatureCache

FRAME = "ab" + "0" * 62


def arrays(seed: int = 0) -> Arrays:
    random = np.random.default_rng(seed)
    return {
        "s8": random.normal(size=(4, 3, 3)).astype(np.float16),
        "s16": random.normal(size=(2, 2)).astype(np.float16),
    }


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, 1 << 20)
    cache.put("look", FRAME, arrays())
    found = cache.get("look", FRAME)
    assert found is not None
    assert {name: (one.dtype, one.tobytes()) for name, one in found.items()} == {
        name: (one.dtype, one.tobytes()) for name, one in arrays().items()
    }
    assert cache.get("another look", FRAME) is None


def test_what_another_version_kept_is_not_there_and_goes_first(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, 1 << 20)
    cache.put("look", FRAME, arrays())
    old = cache.place("look", FRAME).with_name(f"{FRAME}.safetensors")
    cache.place("look", FRAME).rename(old)
    os.utime(old, (0, 0))
    assert not cache.holds("look", FRAME) and cache.get("look", FRAME) is None
    cache.put("look", FRAME, arrays())
    small = FeatureCache(tmp_path, old.stat().st_size)
    assert small.trim() == 1 and not old.exists() and small.holds("look", FRAME)


def test_a_file_under_another_frames_name_is_as_good_as_none(tmp_path: Path) -> None:
    cache, other = FeatureCache(tmp_path, 1 << 20), "cd" + "0" * 62
    cache.put("look", FRAME, arrays())
    for look, frame in (("look", other), ("another look", FRAME)):
        place = cache.place(look, frame)
        place.parent.mkdir(parents=True)
        place.write_bytes(cache.place("look", FRAME).read_bytes())
        assert cache.holds(look, frame) and cache.get(look, frame) is None and not cache.holds(look, frame)


@pytest.mark.parametrize("place", [0, 40, -1])
def test_an_altered_file_is_as_good_as_none(tmp_path: Path, place: int) -> None:
    cache = FeatureCache(tmp_path, 1 << 20)
    cache.put("look", FRAME, arrays())
    path = cache.place("look", FRAME)
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(bytes(data))
    assert cache.get("look", FRAME) is None
    path.write_bytes(bytes(data[:-5]))
    assert cache.get("look", FRAME) is None


def test_what_was_not_used_for_longest_goes_first(tmp_path: Path) -> None:
    frames = [f"{number:02x}" + "0" * 62 for number in range(4)]
    cache = FeatureCache(tmp_path, 1 << 20)
    for age, frame in enumerate(frames):
        cache.put("look", frame, arrays())
        os.utime(cache.place("look", frame), (1000 + age, 1000 + age))
    size = cache.place("look", frames[0]).stat().st_size
    assert cache.get("look", frames[0]) is not None
    small = FeatureCache(tmp_path, 2 * size)
    assert small.trim() == 2
    assert [small.get("look", frame) is not None for frame in frames] == [True, False, False, True]


def test_there_is_never_twice_as_much_as_there_may_be(tmp_path: Path) -> None:
    frames = [f"{number:02x}" + "0" * 62 for number in range(30)]
    FeatureCache(tmp_path, 1 << 20).put("look", frames[0], arrays())
    ((_, status),) = FeatureCache(tmp_path, 1 << 20).files()
    cache, most = FeatureCache(tmp_path, 5 * status.st_size), 0
    for frame in frames:
        cache.put("look", frame, arrays())
        most = max(most, len(cache.files()))
    assert 5 < most <= 10
    assert cache.get("look", frames[-1]) is not None
