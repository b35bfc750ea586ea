from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.secret import masked
from tests.unit.configuration_files import STATION, load, problems

PASSWORD = "geh/e@im"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (f"postgresql://u:{PASSWORD}@h:5432/d", "postgresql://u:***@h:5432/d"),
        (f"redis://:{PASSWORD}@h/0", "redis://:***@h/0"),
        ("postgresql://h/d?user=u&password=geheim&x=1", "postgresql://h/d?user=u&password=***&x=1"),
        ("postgresql://u@h/d", "postgresql://u@h/d"),
        ("redis://h:6379", "redis://h:6379"),
    ],
)
def test_the_password_of_a_url_is_masked_and_nothing_else(url: str, shown: str) -> None:
    assert masked(url) == shown


def test_no_password_is_in_what_is_shown_or_printed(tmp_path: Path) -> None:
    camera = f'[[stations.cameras]]\nkind = "opencv"\nname = "b"\nsource = "rtsp://u:{PASSWORD}@h/1"\n'
    text = STATION.replace("[recipes", f"{camera}[recipes")
    environ = {"DATABASE_URL": f"postgresql://u:{PASSWORD}@h/d", "REDIS_URL": f"redis://:{PASSWORD}@h"}
    loaded = load(tmp_path, text, environ)
    assert loaded.settings.database.url == environ["DATABASE_URL"]
    for text in (json.dumps(loaded.shown()), repr(loaded), str(loaded.settings)):
        assert PASSWORD not in text


@pytest.mark.parametrize("url", [f"mysql://u:{PASSWORD}@h/d", f"u:{PASSWORD}@h/d", f"host=h password={PASSWORD}"])
def test_a_wrong_url_is_answered_without_its_password(tmp_path: Path, url: str) -> None:
    (found,) = problems(tmp_path, "", {"DATABASE_URL": url})
    assert found.startswith("environment DATABASE_URL: database.url is ")
    assert PASSWORD not in found
