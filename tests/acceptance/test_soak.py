"""The proof as the line engineer runs it, small."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance.command import Adline

pytestmark = pytest.mark.usefixtures("alone")


def test_nothing_is_lost_under_kills_of_workers_and_services(tmp_path: Path) -> None:
    with Adline(tmp_path, "soak", "--parts", "120", "--kills", "5", "--json") as adline:
        assert adline.finish() == 0, adline.said()
        told = adline.answer()
        assert adline.left() == []
    assert (told["parts"], told["recorded"], told["lost"], told["duplicated"]) == (120, 120, 0, 0)
    assert (told["kills"], told["kills_not_done"]) == (5, 0)
    assert {"valkey", "postgres"} <= {kill["target"] for kill in told["killed"]}
    assert all(kill["recovery_seconds"] > 0 for kill in told["killed"])
