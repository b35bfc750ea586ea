"""`adline model` on real records and real models, while the line is stopped; and the same over the API."""

from __future__ import annotations

import secrets
import tarfile
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import numpy as np
import pytest

from orchestrator.doorkeeper import digest
from storage import deployments, model_versions, people, records
from storage.database import Database
from storage.deployments import Wish
from storage.events import Verdict
from storage.images import decode, encode
from storage.people_rows import Role
from storage.stream import EventLog
from tests.command import Command
from tests.facts import RECIPE, Plant, model
from tests.integration.gate_report import report_on_record
from tests.integration.line_on_record import IMAGE_SIZE, MODEL, model_version, write_line
from tests.integration.served import Served, browser
from tests.integration.staff import NAMES, hire, showing
from workers.detectors.registry import load, teach

OTHER = "bracket-20261124-1"
TWO_PERSONS = """
[recipes.bracket]
approval = "two"
"""


def picture(seed: int, spread: float = 20) -> bytes:
    grain = np.random.default_rng(seed).normal(128, spread, (IMAGE_SIZE, IMAGE_SIZE))
    return encode(grain.clip(0, 255).astype(np.uint8), "png")


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """Two models of the same surface, one taught from fewer parts, with their hashes."""
    folder = tmp_path_factory.mktemp("taught")
    good = [decode(picture(seed)) for seed in range(30)]
    found = {}
    for name, images in ((MODEL, good), (OTHER, good[:16])):
        made = teach("patchcore", images, image_size=64, target_false_reject_rate=0.2, review_share=0.1, seed=0)
        found[name] = made.save(folder / name)
    return folder, found


@pytest.fixture
def adline(
    adline: Command,
    database_url: str,
    database: Database,
    taught: tuple[Path, dict[str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> Command:
    """A line with two versions on record, of which the first is champion, and some parts that it judged."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    home, (folder, hashes) = adline.folder / ".adline", taught
    for name in hashes:
        copy_of(folder / name, home / "models" / name)
    parts = [(f"P-{seed}", "L-1", Verdict.OK, picture(100 + seed, 20 + 6 * seed)) for seed in range(6)]
    write_line(database, home / "images", parts, model_sha256=hashes[MODEL])
    with database.begin() as session:
        records.register_model(session, model_version(hashes[OTHER], {"gate": {"sentence": "better"}}, OTHER))
    return adline


def copy_of(source: Path, target: Path) -> None:
    target.mkdir(parents=True)
    for file in source.iterdir():
        (target / file.name).write_bytes(file.read_bytes())


def test_a_deployment_and_the_way_back_stay_on_record(adline: Command) -> None:
    assert [(one["id"], one["aliases"]) for one in adline.json("model", "list")] == [(OTHER, []), (MODEL, ["champion"])]
    made = adline.json("model", "deploy", OTHER, "--reason", "the gate says so", "--by", "eun-ji")
    assert (made["state"], made["model_version"], made["deployed_by"]) == ("deployed", OTHER, "eun-ji")
    assert adline("model", "rollback", "bracket", "--by", "otto") == 2 and "--reason" in adline.err
    made = adline.json("model", "rollback", "bracket", "--by", "otto", "--reason", "escapes")
    assert made["model_version"] == MODEL
    rows = adline.json("model", "history", "bracket")
    assert [(row["model_version"], row["deployed_by"], row["reason"]) for row in rows] == [
        (MODEL, "otto", "escapes"),
        (OTHER, "eun-ji", "the gate says so"),
        (MODEL, "anna", "first model"),
    ]
    shown = adline.json("model", "show", OTHER)
    assert (shown["gate"], shown["files"], shown["aliases"]) == ("better", "intact", [])
    assert adline("model", "history", "unknown") == 1 and "no deployment on record" in adline.err
    assert adline("model", "show", "unknown") == 1 and "no model version 'unknown'" in adline.err


def test_the_auditor_sees_what_a_first_model_was_taught_from_also_where_only_names_are_known(
    adline: Command, database: Database
) -> None:
    sha256 = "a" * 64
    known: list[object] = ["old.png", {"image": "new.png", "sha256": sha256, "group": None}]
    known.append({"image": "side.png", "sha256": "b" * 64, "group": "P-7"})
    with database.begin() as session:
        records.register_model(session, model("first", configuration={"taught_from": known}))
    question = (
        "SELECT image, sha256, split, part_key, is_anomaly, source FROM v_model_images WHERE model_version = 'first'"
    )
    rows = {tuple(row.values()) for row in adline.json("audit", "sql", f"{question} ORDER BY image")}
    assert rows == {
        ("new.png", sha256, "train", f"image:{sha256}", False, "taught"),
        ("old.png", None, "train", None, False, "taught"),
        ("side.png", "b" * 64, "train", "group:P-7", False, "taught"),
    }
    with database.begin() as session:
        assert model_versions.taught_from(session, RECIPE) == {"old.png", sha256, "b" * 64}


def test_model_show_and_train_show_say_where_the_gates_page_is(adline: Command, database: Database) -> None:
    run_id = report_on_record(database, adline.folder / ".adline")
    told = adline.folder / ".adline" / "training" / str(run_id) / "report.html"
    assert adline("model", "show", "retrained") == 1 and f"report        {told}" in adline.out
    assert adline("model", "show", MODEL) == 0 and "report        -" in adline.out
    assert adline("train", "show", str(run_id)) == 0 and f"report: {told}" in adline.out


def test_what_cannot_be_used_is_refused_before_it_is_on_record(adline: Command) -> None:
    weights = adline.folder / ".adline" / "models" / OTHER / "weights.safetensors"
    weights.write_bytes(weights.read_bytes() + b"\0")
    assert adline("model", "deploy", OTHER, "--reason", "better") == 1
    assert "the model was altered" in adline.err
    assert adline.json("model", "show", OTHER, code=1)["files"].endswith("the model was altered")
    weights.unlink()
    weights.parent.rename(weights.parent.with_name("elsewhere"))
    assert adline("model", "deploy", OTHER, "--reason", "better", "--as", "challenger") == 1
    assert "no such model folder" in adline.err
    assert len(adline.json("model", "history")) == 1


def test_two_persons_are_two_who_show_who_they_are(adline: Command, database: Database) -> None:
    (adline.folder / "adline.toml").write_text(TWO_PERSONS)
    tokens = {}
    with database.begin() as session:
        for name, role in (("eun-ji", Role.ENGINEER), ("ada", Role.ADMIN), ("otto", Role.OPERATOR)):
            people.add(session, name, role, "test", "no password")
            token = secrets.token_urlsafe()
            people.add_token(session, name, digest(token), "test", "test", timedelta(days=1))
            tokens[name] = adline.folder / name
            tokens[name].write_text(token)
    deploy = ("model", "deploy", OTHER, "--reason", "better")
    assert adline(*deploy, "--by", "eun-ji") == 1 and "need two persons" in adline.err
    assert adline(*deploy, "--token-file", str(tokens["otto"])) == 1 and "otto is operator" in adline.err
    made = adline.json(*deploy, "--token-file", str(tokens["eun-ji"]))
    assert made["state"] == "waiting" and len(adline.json("model", "history")) == 1
    approve = ("model", "approve", str(made["request_id"]))
    assert adline(*approve, "--token-file", str(tokens["eun-ji"])) == 1 and "another person" in adline.err
    assert adline(*approve) == 1 and "--token-file" in adline.err
    assert adline(*approve, "--token-file", str(tokens["otto"])) == 1
    done = adline.json(*approve, "--token-file", str(tokens["ada"]), "--reason", "seen")
    assert (done["deployed_by"], done["approved_by"]) == ("eun-ji", "ada")
    question = "SELECT deployed_by, approved_by FROM v_model_deployments ORDER BY deployment_id DESC LIMIT 1"
    assert adline.json("audit", "sql", question) == [{"deployed_by": "eun-ji", "approved_by": "ada"}]


def test_an_exported_version_is_checked_and_taken_into_another_line(adline: Command, database: Database) -> None:
    file = adline.folder / "model.tar"
    adline.json("model", "export", OTHER, str(file))
    card = adline.json("model", "verify", str(file))
    assert (card["id"], card["recipe"], card["metrics"]["gate"]) == (OTHER, "bracket", {"sentence": "better"})
    assert adline("model", "export", OTHER, str(file)) == 1 and "already there" in adline.err
    assert adline("model", "import", str(file)) == 1 and "on record already" in adline.err
    data = bytearray(file.read_bytes())
    with tarfile.open(file) as archive:
        member = archive.getmember("weights.safetensors")
        data[member.offset_data + member.size - 1] ^= 1
    spoilt = adline.folder / "spoilt.tar"
    spoilt.write_bytes(bytes(data))
    assert adline("model", "verify", str(spoilt)) == 1 and "weights.safetensors" in adline.err
    assert adline("model", "import", str(spoilt)) == 1 and "altered" in adline.err


def test_which_parts_another_version_would_judge_otherwise(
    adline: Command, taught: tuple[Path, dict[str, str]]
) -> None:
    found = adline.json("model", "evaluate", OTHER, "--against", MODEL)
    assert (found["version"], found["against"], found["parts"]) == (OTHER, MODEL, 6)
    assert found["rescored"] == 6, "the scores of the first are on record"
    assert found["lost"] == []
    detector = load(taught[0] / OTHER, taught[1][OTHER])
    answers = detector.predict([decode(picture(100 + seed, 20 + 6 * seed)) for seed in range(6)])
    scores = {f"P-{seed}": answer.anomaly_score for seed, answer in enumerate(answers)}  # type: ignore[union-attr]
    worse = {name: pytest.approx(score) for name, score in scores.items() if score >= 0.4}
    assert worse and {part["part_id"]: part["score"] for part in found["changed"]} == worse
    for part in found["changed"]:
        assert (part["before"], part["before_score"]) == ("OK", pytest.approx(0.1))
        assert part["now"] == ("NG" if part["score"] >= 0.6 else "REVIEW")
    assert adline("model", "evaluate", OTHER, "--snapshot", "20261124_V1_none") == 1, adline.err
    assert adline("model", "evaluate", OTHER) == 0 and "of 6 parts would be judged otherwise" in adline.out


def test_files_of_candidates_that_were_never_used_go_and_their_rows_stay(adline: Command, database: Database) -> None:
    with database.begin() as session:
        records.register_model(session, model_version("e" * 64, id="bracket-20261125-1"))
    models = adline.folder / ".adline" / "models"
    (models / "bracket-20261125-1").mkdir()
    with database.begin() as session:
        wish = Wish(RECIPE, OTHER, "anna", "better")
        asked = deployments.ask(session, wish, two_persons=True).id
    assert adline.json("model", "prune", "--keep", "0") == {"removed": ["bracket-20261125-1"]}
    (models / "bracket-20261125-1").mkdir()
    with database.begin() as session:
        deployments.answer(session, asked, "ben", False, "not now")
    assert adline.json("model", "prune", "--keep", "1") == {"removed": [OTHER]}
    assert not (models / OTHER).exists() and (models / MODEL).exists() and (models / "bracket-20261125-1").exists()
    assert len(adline.json("model", "list")) == 3
    assert adline("model", "deploy", OTHER, "--reason", "after all") == 1 and "no such model folder" in adline.err


def test_which_version_judged_a_part_by_which_thresholds(adline: Command, database: Database) -> None:
    (row,) = adline.json("audit", "sql", "SELECT * FROM v_part_model WHERE part_id = 'P-1'")
    assert (row["model_version"], row["ok_threshold"], row["thresholds_by"]) == (MODEL, 0.4, "calibration")
    assert UUID(row["inspection_id"]) and row["verdict"] == "OK"


# Over the API


@pytest.fixture
def up(plant: Plant, log: EventLog, tmp_path: Path) -> Served:
    hire(plant.database)
    with plant.database.begin() as session:
        records.register_model(session, model("second"))
        records.deploy(session, RECIPE, "second", "test", "better")
    return Served(plant, log, tmp_path, '\n[server]\nhost = "0.0.0.0"\n', is_demo=False)


READABLE = (
    *("models", "models/second", "deployments", "deployment-requests", "deployments/1/swaps"),
    f"shadow/{RECIPE}",
)


def test_operators_see_no_model_and_auditors_every_one(up: Served) -> None:
    with browser(up, "192.0.2.7", "http://192.0.2.1:8000") as client:
        operator = showing(up.database, NAMES[Role.OPERATOR], "token")
        auditor = showing(up.database, NAMES[Role.AUDITOR], "token")
        for path in READABLE:
            refused = client.get(f"/api/v1/{path}", headers=operator)
            assert refused.status_code == 403, path
            assert "second" not in refused.text, path
            assert client.get(f"/api/v1/{path}", headers=auditor).status_code != 403, path


def test_engineers_roll_back_and_operators_do_not(up: Served) -> None:
    with browser(up, "192.0.2.7", "http://192.0.2.1:8000") as client:
        operator = showing(up.database, NAMES[Role.OPERATOR], "token")
        engineer = showing(up.database, NAMES[Role.ENGINEER], "token")
        rows = client.get("/api/v1/deployments", headers=engineer).json()
        assert [row["model_version"] for row in rows] == ["second", "bracket-20260101-1"]
        wish = {"recipe": RECIPE, "reason": "escapes"}
        assert client.post("/api/v1/models/rollback", json=wish, headers=operator).status_code == 403
        missing = client.post("/api/v1/models/rollback", json=wish, headers=engineer)
        assert missing.status_code == 422 and "no such model folder" in missing.json()["detail"]
        assert missing.headers["content-type"] == "application/problem+json"
        assert len(client.get("/api/v1/deployments", headers=engineer).json()) == 2
        unknown = client.post("/api/v1/models/unknown/deploy", json={"reason": "why not"}, headers=engineer)
        assert unknown.status_code == 404
        listed = client.get("/api/v1/models", headers=engineer).json()
        assert {one["id"]: one["aliases"] for one in listed} == {"second": ["champion"], "bracket-20260101-1": []}
        shown = client.get("/api/v1/models/second", headers=engineer).json()
        assert "no such model folder" in shown["files"] and shown["deployments"][0]["reason"] == "better"


def test_the_newest_deployment_of_each_alias_is_found_for_each_recipe(plant: Plant) -> None:
    with plant.database.begin() as session:
        assert deployments.newest(session, "unknown") == {}
        assert {alias.value for alias in deployments.newest(session, RECIPE)} == {"champion"}
