"""Models exchanged on a line that works: no part is lost, none is judged by a version that was not in force."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.postgres import EmbeddedPostgres
from storage import records
from storage.database import Database
from storage.images import decode
from storage.models import ModelVersion
from tests.acceptance.command import PATIENCE_SECONDS, Adline, surroundings, wait_until
from tests.acceptance.plant import fill, plant, query, station, unseen
from workers.detectors.registry import teach

pytestmark = pytest.mark.usefixtures("alone")

RECIPE, CHANGES, WORKERS = "cells", 20, 2
OUT_OF_FORCE = """
    SELECT p.inspection_id, p.model_version, d.model_version, v.decided_at
    FROM verdicts v JOIN predictions p ON p.inspection_id = v.inspection_id AND p.model_version = v.model_version
    LEFT JOIN deployments d ON d.id = p.deployment_id
    WHERE d.id IS NULL OR d.model_version <> p.model_version OR v.decided_at < d.deployed_at
        OR NOT EXISTS (SELECT FROM v_model_swaps s WHERE s.deployment_id = d.id AND s.worker = p.worker
                       AND v.decided_at >= s.swapped_at AND v.decided_at <= coalesce(s.replaced_at, 'infinity'))
"""
"""Parts whose version did not hold the alias then, or that no worker was scoring by at that moment."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exchange")
    fill(folder / "parts", unseen(20))
    plant(folder, station("gate", "parts", {"kind": "interval", "parts_per_minute": 480.0}, "loop"))
    with (folder / "adline.toml").open("a") as file:
        file.write(f"\n[inference]\nreplicas = {WORKERS}\n")
    return folder


@pytest.fixture(scope="module")
def up(folder: Path, alone: None) -> Iterator[Adline]:
    with Adline(folder, "start", "--json") as adline:
        yield adline.wait_ready()


@pytest.fixture(scope="module")
def database_url(folder: Path) -> str:
    return EmbeddedPostgres(folder / ".adline").url()


@pytest.fixture(scope="module")
def versions(up: Adline, folder: Path, database_url: str) -> list[str]:
    """The version the line was started with, and one that was taught with another seed."""
    ((first,),) = query(database_url, "SELECT model_version FROM deployments")
    good = [decode(path.read_bytes(), minimum_side=64) for path in sorted((folder / "known-good").iterdir())]
    detector = teach("patchcore", good, image_size=64, target_false_reject_rate=0.4, review_share=0.1, seed=1)
    sha256 = detector.save(folder / ".adline" / "models" / "cells-second")
    database = Database(database_url)
    with database.begin() as session:
        row = ModelVersion(
            id="cells-second",
            recipe=RECIPE,
            detector="patchcore",
            sha256=sha256,
            configuration={},
            ok_threshold=detector.ok_threshold,
            ng_threshold=detector.ng_threshold,
            metrics={},
            parent=first,
            code_version="test",
        )
        records.register_model(session, row)
    database.close()
    return [str(first), "cells-second"]


def command(folder: Path, *words: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", *words],
        cwd=folder,
        env=surroundings(),
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )
    return done.returncode, done.stdout, done.stderr


def changed(up: Adline, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """Ask for it, and wait until every worker scores by it."""
    status, said = up.post(path, body)
    assert status == 200, said
    made: dict[str, Any] = json.loads(said)

    def followed() -> bool:
        return len(json.loads(up.get(f"/api/v1/deployments/{made['deployment_id']}/swaps")[1])) == WORKERS

    wait_until(followed, f"all workers follow deployment {made['deployment_id']}")
    return made


def test_twenty_deployments_and_rollbacks_lose_no_part(
    up: Adline, folder: Path, versions: list[str], database_url: str
) -> None:
    first, second = versions
    made = []
    for number in range(CHANGES):
        if number % 2 == 0:
            body = {"reason": f"change {number}"}
            made.append(changed(up, f"/api/v1/models/{second}/deploy", body))
        else:
            body = {"recipe": RECIPE, "reason": f"change {number}"}
            made.append(changed(up, "/api/v1/models/rollback", body))
    assert [one["model_version"] for one in made] == [second, first] * (CHANGES // 2)
    assert up.stop(signal.SIGTERM) == 0, up.said()
    summary = up.answer()
    assert summary["lost"] == summary["duplicated"] == summary["verdicts"]["ERROR"] == 0
    with_server(folder, database_url, made)


def with_server(folder: Path, database_url: str, made: list[dict[str, Any]]) -> None:
    server = EmbeddedPostgres(folder / ".adline")
    server.start()
    try:
        assert query(database_url, OUT_OF_FORCE) == []
        judged = query(database_url, "SELECT deployment_id, count(*) FROM predictions GROUP BY 1 ORDER BY 1")
        assert len(judged) > CHANGES / 2, "parts were judged while models were exchanged"
        rows = query(
            database_url,
            "SELECT deployment_id, extract(epoch FROM last_swapped_at - deployed_at)::float8,"
            " first_swapped_at >= deployed_at FROM v_model_deployments ORDER BY 1",
        )
        assert all(in_order for _, _, in_order in rows)
        followed = sorted(seconds for number, seconds, _ in rows if number in {one["deployment_id"] for one in made})
        assert len(followed) == CHANGES
        print("seconds from a deployment's row to its last worker's swap:", *(f"{one:.2f}" for one in followed))
    finally:
        server.stop()


def test_a_stopped_line_is_rolled_back_and_takes_it_up_at_the_next_start(
    up: Adline, folder: Path, versions: list[str]
) -> None:
    code, _, said = command(folder, "model", "rollback", RECIPE)
    assert code == 2 and "--reason" in said
    weights = folder / ".adline" / "models" / versions[1] / "weights.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + b"!")
    code, _, said = command(folder, "model", "deploy", versions[1], "--reason", "better")
    assert code == 1 and "the model was altered" in said
    weights.write_bytes(whole)
    code, out, said = command(folder, "model", "deploy", versions[1], "--reason", "better", "--json")
    assert code == 0 and json.loads(out)["model_version"] == versions[1], said
    with Adline(folder, "start", "--json") as again:
        again.wait_ready()
        code, out, said = command(folder, "model", "rollback", RECIPE, "--reason", "more escapes", "--json")
        assert code == 0, said
        done = json.loads(out)
        assert done["model_version"] == versions[0] and done["workers"]["complete"]
        assert sorted(done["workers"]["swapped_seconds"]) == ["inference-0", "inference-1"]
        assert done["workers"]["last_swapped_seconds"] == max(done["workers"]["swapped_seconds"].values())
        assert again.stop(signal.SIGTERM) == 0, again.said()
