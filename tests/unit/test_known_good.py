from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from storage.errors import TeachingFailed
from workers.retrain.known_good import groups_of, known_good


def teaching(folder: Path, text: str | bytes | None = None) -> dict[str, Any]:
    """A folder with three known-good images, and its groups.csv."""
    for name in ("a1.png", "a2.png", "b1.png"):
        (folder / name).write_bytes(b"")
    if text is not None:
        (folder / "groups.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    return {"kind": "folder", "path": folder, "groups": folder / "groups.csv"}


def groups(folder: Path, text: str | bytes | None = None) -> list[str] | None:
    teach = teaching(folder, text)
    return groups_of("bracket", teach, known_good("bracket", teach))


def test_each_image_gets_the_group_the_file_gives_it(tmp_path: Path) -> None:
    text = "\ufeffexposure,image,group\n1,b1.png,b\n1,a1.png,a\n2,a2.png,a\n1,elsewhere.png,c\n"
    assert groups(tmp_path, text) == ["a", "a", "b"]


def test_without_the_setting_each_image_shows_a_part_of_its_own(tmp_path: Path) -> None:
    teach = teaching(tmp_path) | {"groups": None}
    assert groups_of("bracket", teach, known_good("bracket", teach)) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("image,group\na1.png,a\n", "gives no group for a2.png, b1.png; each image needs one"),
        ("image,piece\na1.png,a\n", "no column group; the first line names image and group"),
        ("", "no column image and no column group"),
        ("image,group\na1.png,a\na2.png,\nb1.png,b\n", "line 3: image and group must both be given"),
        ("image,group\na1.png,a\na1.png,b\n", "line 3: a1.png is in a and in b"),
        ("image,group\na1.png\n", "line 2: image and group must both be given"),
        (b"image,group\n\xff\xfe,a\n", "no CSV file in UTF-8"),
        (None, "No such file"),
    ],
)
def test_a_file_that_does_not_say_it_is_refused_with_the_reason(
    tmp_path: Path, text: str | bytes | None, said: str
) -> None:
    with pytest.raises(TeachingFailed, match=r"^recipes\.bracket\.teach\.groups: .*groups\.csv") as caught:
        groups(tmp_path, text)
    assert said in str(caught.value)
