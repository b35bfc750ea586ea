"""The labeling queue on real Postgres: nobody decides a part twice, and nothing decided is lost."""

from __future__ import annotations

import random
import struct
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import pytest
from sqlalchemy import text

from storage import bench_rows, embeddings, labels, records, reviews
from storage.database import Database, migrate
from storage.errors import ResolutionRefused, ReviewMissing, ReviewStale
from storage.events import ReviewReason, ReviewResolved, ReviewsOverdue, new_id
from storage.images import ImageStore
from storage.resolution import Resolution
from storage.reviews import Claimant, Filter, Lease, Policy
from storage.stream import EventLog
from tests.conftest import execute
from tests.facts import Plant, frame, picture, prediction
from workers.labeling.agreement import agreements
from workers.labeling.outbox import tell_resolved
from workers.labeling.queue import Queue, Rules
from workers.labeling.reminder import Reminder

RULES = Rules(
    lease=timedelta(minutes=5),
    skip=timedelta(minutes=10),
    ageing=timedelta(hours=8),
    policy=Policy.OLDEST,
    second_opinion_share=0.0,
    duplicate_distance=0.02,
)
NORMAL = Resolution.model_validate({"decision": "normal"})
CRACK = Resolution.model_validate({"decision": "anomaly", "defects": ["crack"], "note": "left edge"})
CANNOT_TELL = Resolution.model_validate({"decision": "cannot_tell"})


class Desk:
    """A queue with parts in it."""

    def __init__(self, plant: Plant, log: EventLog, folder: Path) -> None:
        self.plant, self.log, self.store = plant, log, ImageStore(folder)
        self.database = plant.database
        self.queue = self.ruled()

    def ruled(self, **rules: object) -> Queue:
        return Queue(self.database, self.log, self.store, Rules(**{**RULES.__dict__, **rules}))

    def put(self, score: float = 0.5, look: tuple[float, ...] = (), **facts: Any) -> UUID:
        """A part under review; its inspection's id."""
        captured = self.plant.captured(self.plant.trigger(**facts), frame(data=new_id().bytes))
        seen = prediction(captured.frames[0], score)
        if look:
            seen = seen.model_copy(update={"embedding": struct.pack(f"<{len(look)}f", *look)})
        event = self.plant.decided(captured, score, predictions=(seen,), review_reason=ReviewReason.UNCERTAIN)
        with self.database.begin() as session:
            records.record_verdicts(session, [event])
        return event.trigger.inspection_id

    def claim(self, person: str = "anna", **facts: object) -> Lease:
        lease = self.queue.claim(person, **facts)  # type: ignore[arg-type]  # as the test says
        assert lease is not None
        return lease

    def decide(self, person: str, resolution: Resolution = NORMAL, queue: Queue | None = None) -> Lease:
        queue = queue or self.queue
        lease = queue.claim(person)
        assert lease is not None
        queue.resolve(person, lease.review_id, lease.token, resolution)
        return lease

    def expire(self, lease: Lease) -> None:
        """As if its time had passed."""
        execute(
            self.database.url, f"UPDATE reviews SET free_at = now() - interval '1 ms' WHERE id = '{lease.review_id}'"
        )

    def value(self, query: str) -> object:
        with self.database.begin() as session:
            return session.scalar(text(query))

    def history(self, lease: Lease) -> list[tuple[str, str]]:
        with self.database.begin() as session:
            return [(row["decision"].value, row["decided_by"]) for row in labels.history(session, lease.review_id)]

    def told(self) -> list[ReviewResolved]:
        rows: Any = self.log.client.xrange(self.log.key(ReviewResolved))
        return [ReviewResolved.model_validate_json(fields[b"body"]) for _, fields in rows]


@pytest.fixture
def desk(plant: Plant, log: EventLog, tmp_path: Path) -> Desk:
    return Desk(plant, log, tmp_path)


def test_a_claimed_review_is_offered_to_nobody_else(desk: Desk) -> None:
    desk.put()
    lease = desk.claim("anna")
    assert desk.queue.claim("ben") is None
    with pytest.raises(ReviewStale, match="is being decided by anna"):
        desk.queue.claim_this("ben", lease.review_id)


def test_a_decision_is_kept_with_who_when_how_long_and_under_which_lease(desk: Desk) -> None:
    inspection_id = desk.put(part_id="P-1")
    lease = desk.decide("anna", CRACK)
    with desk.database.begin() as session:
        (label,) = labels.history(session, lease.review_id)
    assert (label["decision"], label["defects"], label["note"]) == ("anomaly", ["crack"], "left edge")
    assert (label["decided_by"], label["token"], label["inspection_id"]) == ("anna", lease.token, inspection_id)
    assert label["lease_until"] == lease.lease_until > label["decided_at"]
    assert label["took_milliseconds"] >= 0
    assert desk.value("SELECT label FROM v_part_history WHERE part_id = 'P-1'") == "anomaly"
    assert desk.value("SELECT in_force FROM v_operator_decisions") is True


def test_a_lease_that_ran_out_returns_by_itself_and_its_decision_is_refused_with_both_versions(desk: Desk) -> None:
    desk.put()
    late = desk.claim("anna")
    desk.expire(late)
    with pytest.raises(ReviewStale, match="the lease ended at"):
        desk.queue.resolve("anna", late.review_id, late.token, NORMAL)
    with pytest.raises(ReviewStale):
        desk.queue.heartbeat("anna", late.review_id, late.token)
    lease = desk.claim("ben")
    assert lease.review_id == late.review_id and lease.token > late.token
    with pytest.raises(ReviewStale, match="is being decided by ben") as refused:
        desk.queue.resolve("anna", late.review_id, late.token, NORMAL)
    assert refused.value.given == late.token and refused.value.current["token"] == lease.token
    desk.queue.resolve("ben", lease.review_id, lease.token, CRACK)
    with pytest.raises(ReviewStale, match="is already decided"):
        desk.queue.resolve("anna", late.review_id, late.token, NORMAL)
    assert desk.history(lease) == [("anomaly", "ben")]


def test_a_lease_of_ones_own_that_was_renewed_by_another_claim_is_stale(desk: Desk) -> None:
    desk.put()
    first = desk.claim()
    second = desk.queue.claim_this("anna", first.review_id)
    with pytest.raises(ReviewStale, match=f"token {first.token} is old"):
        desk.queue.resolve("anna", first.review_id, first.token, NORMAL)
    desk.queue.resolve("anna", first.review_id, second.token, NORMAL)


def test_a_heartbeat_prolongs_the_lease_under_the_same_token(desk: Desk) -> None:
    desk.put()
    lease = desk.claim()
    longer = desk.queue.heartbeat("anna", lease.review_id, lease.token)
    assert longer.token == lease.token and longer.lease_until > lease.lease_until
    with pytest.raises(ReviewStale):
        desk.queue.heartbeat("ben", lease.review_id, lease.token)


def test_a_released_review_is_offered_at_once_and_a_skipped_one_later(desk: Desk) -> None:
    desk.put()
    lease = desk.claim()
    desk.queue.release("anna", lease.review_id, lease.token)
    again = desk.claim()
    assert again.review_id == lease.review_id
    desk.queue.skip("anna", again.review_id, again.token)
    assert desk.queue.claim("anna") is None
    assert desk.queue.claim_this("anna", again.review_id).token > again.token, "by hand it can be had all the same"


def test_a_decision_sent_twice_because_its_answer_was_lost_is_one_decision(desk: Desk) -> None:
    desk.put()
    lease = desk.claim()
    first = desk.queue.resolve("anna", lease.review_id, lease.token, CRACK)
    assert desk.queue.resolve("anna", lease.review_id, lease.token, CRACK) == first
    with pytest.raises(ReviewStale):
        desk.queue.resolve("anna", lease.review_id, lease.token, NORMAL)
    assert desk.history(lease) == [("anomaly", "anna")]


def test_an_undone_decision_stays_on_record_and_the_person_decides_again(desk: Desk) -> None:
    desk.put(part_id="P-1")
    lease = desk.decide("anna", CRACK)
    with pytest.raises(ReviewStale, match="no decision of ben"):
        desk.queue.undo("ben", lease.review_id)
    again = desk.queue.undo("anna", lease.review_id)
    assert desk.value("SELECT label FROM v_part_history") is None
    assert desk.queue.claim("ben") is None
    desk.queue.resolve("anna", again.review_id, again.token, NORMAL)
    assert desk.history(lease) == [("anomaly", "anna"), ("withdrawn", "anna"), ("normal", "anna")]
    assert desk.value("SELECT label FROM v_part_history") == "normal"


def test_a_part_that_was_decided_can_be_looked_at_again_and_its_label_holds_until_then(desk: Desk) -> None:
    inspection_id = desk.put()
    lease = desk.decide("anna", CRACK)
    assert desk.queue.look_again("eve", inspection_id) == lease.review_id
    assert desk.value("SELECT label || ' ' || review_state FROM v_part_history") == "anomaly open"
    desk.decide("ben", NORMAL)
    assert desk.value("SELECT label FROM v_part_history") == "normal"
    assert desk.value("SELECT count(*) FROM labels WHERE supersedes IS NOT NULL") == 1
    undone = desk.queue.undo("ben", lease.review_id)
    assert desk.value("SELECT label FROM v_part_history") == "anomaly", "what it had superseded holds again"
    assert undone.round == 2


def test_a_part_the_line_was_sure_of_can_be_put_before_operators_by_hand(desk: Desk) -> None:
    event = desk.plant.decided(score=0.9)
    with desk.database.begin() as session:
        records.record_verdicts(session, [event])
    assert desk.queue.claim("anna") is None
    desk.queue.look_again("eve", event.trigger.inspection_id)
    assert desk.claim().reason == "manual"
    with pytest.raises(ReviewMissing, match="no inspection"):
        desk.queue.look_again("eve", new_id())


def test_policies_offer_the_oldest_or_the_least_certain_first_and_the_overdue_before_all(desk: Desk) -> None:
    ids = [desk.put(score) for score in (0.45, 0.59, 0.5)]
    assert desk.claim(policy=Policy.OLDEST).inspection_id == ids[0]
    assert desk.claim(policy=Policy.UNCERTAIN).inspection_id == ids[1]
    late, sure = desk.put(0.41), desk.put(0.6)
    execute(
        desk.database.url,
        f"UPDATE reviews SET opened_at = now() - interval '9 hours' WHERE inspection_id = '{late}'",
    )
    assert [desk.claim(policy=Policy.UNCERTAIN).inspection_id for _ in range(3)] == [late, sure, ids[2]]


@pytest.mark.parametrize("order", [reviews.OVERDUE, reviews.SAMPLED, *reviews.ORDERS.values()])
@pytest.mark.parametrize("only", [Filter(), Filter(station="press"), Filter(product="bracket")])
def test_a_claim_reads_no_more_of_the_open_reviews_than_it_needs(desk: Desk, order: str, only: Filter) -> None:
    with desk.database.begin() as session:
        event = desk.plant.decided(score=0.1)
        records.record_verdicts(session, [event])
        ground = bench_rows.prepare(session, "press", "here")
        bench_rows.fill(session, ground, 1, 5000, decided=False)
    execute(desk.database.url, "UPDATE reviews SET product = 'bracket'", "VACUUM ANALYZE reviews")
    claimant = Claimant("anna", timedelta(minutes=5), timedelta(hours=8), only)
    query = reviews.CLAIM.format(which=f"{claimant.free} {order}")
    with desk.database.begin() as session:
        plan = session.scalar(text(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {query}"), claimant.parameters)
    assert plan[0]["Plan"]["Shared Hit Blocks"] + plan[0]["Plan"]["Shared Read Blocks"] < 60


@pytest.fixture(params=["pgvector", "plain bytes"])
def seeing(request: pytest.FixtureRequest, desk: Desk) -> Desk:
    """A desk whose database knows what parts look like, with pgvector and without."""
    if request.param == "plain bytes":
        execute(desk.database.url, "DROP TABLE embeddings")
    return desk


def test_the_diverse_order_offers_what_is_least_like_the_parts_decided_last(seeing: Desk) -> None:
    desk = seeing
    desk.put(look=(1, 0, 0))
    desk.decide("anna")
    alike, other = desk.put(look=(1, 0.01, 0)), desk.put(look=(0, 1, 0))
    assert desk.claim(policy=Policy.DIVERSE).inspection_id == other
    assert desk.claim(policy=Policy.DIVERSE).inspection_id == alike
    unseen = desk.put()
    assert desk.claim(policy=Policy.DIVERSE).inspection_id == unseen, "a part without an embedding is not forgotten"


def test_the_most_similar_decided_parts_are_found_the_nearest_first(seeing: Desk) -> None:
    for look in ((1, 0), (0, 1), (1, 1)):
        seeing.put(look=look)
        seeing.decide("anna", CRACK)
    like = seeing.put(look=(1, 0.1))
    with seeing.database.begin() as session:
        found = embeddings.similar(session, like, 2)
    assert [round(distance, 3) for distance in found.values()] == [0.005, 0.226]


def test_what_was_kept_without_pgvector_goes_into_it_once_it_is_there(desk: Desk) -> None:
    execute(desk.database.url, "DROP TABLE embeddings")
    first, second = desk.put(look=(1, 0)), desk.put(look=(1, 0.01))
    migrate(desk.database.url)
    assert desk.value("SELECT count(*) FROM looks") == 0
    assert desk.value("SELECT string_agg(embedding::text, ' ' ORDER BY inspection_id) FROM embeddings") == (
        "[1,0] [1,0.01]"
    )
    lease = desk.queue.claim_this("anna", desk.queue.look_again("anna", first))
    assert [one.inspection_id for one in desk.queue.claim_alike("anna", lease)] == [second]


def test_near_duplicates_are_claimed_as_one_group_and_decided_together_or_not_at_all(seeing: Desk) -> None:
    desk = seeing
    for look in ((1, 0), (1, 0.01), (0.99, 0), (0, 1)):
        desk.put(look=look)
    first = desk.claim()
    group = [first, *desk.queue.claim_alike("anna", first)]
    assert len(group) == 3
    held = [(lease.review_id, lease.token) for lease in group]
    with pytest.raises(ReviewStale):
        desk.queue.resolve_all("anna", [*held[:2], (held[2][0], 99)], CRACK)
    assert desk.value("SELECT count(*) FROM labels") == 0
    done = desk.queue.resolve_all("anna", held, CRACK)
    assert [one.review_id for one in done] == [id for id, _ in held]
    assert desk.value("SELECT count(*) FROM reviews WHERE state = 'open'") == 1


def test_a_filter_leaves_other_stations_and_products_alone(desk: Desk) -> None:
    with desk.database.begin() as session:
        records.register_station(session, "saw", "line-1")
    desk.put(product="bracket")
    sawn = desk.put(station="saw", product="plate")
    assert desk.claim(only=Filter(station="saw")).inspection_id == sawn
    assert desk.queue.claim("anna", only=Filter(product="plate")) is None
    assert desk.queue.claim("anna", only=Filter("press", "bracket")) is not None


def test_a_second_opinion_is_blind_of_another_person_and_a_third_decides(desk: Desk) -> None:
    queue = desk.ruled(second_opinion_share=1.0)
    desk.put()
    lease = desk.decide("anna", CRACK, queue)
    assert queue.claim("anna") is None, "nobody is asked twice about one part"
    with pytest.raises(ReviewStale, match="somebody else than anna"):
        queue.claim_this("anna", lease.review_id)
    assert desk.value("SELECT label FROM v_part_history") is None
    desk.decide("ben", NORMAL, queue)
    assert desk.value("SELECT review_state FROM v_part_history") == "open", "they disagree"
    assert desk.told() == []
    desk.decide("carl", CRACK, queue)
    assert desk.value("SELECT label || ' ' || labeled_by FROM v_part_history") == "anomaly carl"
    desk.put()
    desk.decide("ben", CANNOT_TELL, queue)
    desk.decide("anna", CANNOT_TELL, queue)
    assert desk.value("SELECT count(*) FROM reviews WHERE state = 'resolved'") == 2
    with desk.database.begin() as session:
        found = agreements(labels.opinion_pairs(session))
    assert found.overall is not None and (found.overall.parts, found.overall.agreed) == (2, 0.5)
    assert [(pair.people, pair.parts) for pair in found.pairs] == [(("anna", "ben"), 2)]


def test_an_undone_opinion_counts_in_no_agreement(desk: Desk) -> None:
    queue = desk.ruled(second_opinion_share=1.0)
    desk.put()
    desk.decide("anna", CRACK, queue)
    lease = desk.decide("ben", NORMAL, queue)
    again = queue.undo("ben", lease.review_id)
    queue.resolve("ben", again.review_id, again.token, CRACK)
    with desk.database.begin() as session:
        found = agreements(labels.opinion_pairs(session))
    assert found.overall is not None and (found.overall.parts, found.overall.agreed) == (1, 1.0)


def test_a_share_of_the_reviews_is_asked_twice(desk: Desk) -> None:
    queue = desk.ruled(second_opinion_share=0.5)
    finals = Counter[bool]()
    for _ in range(200):
        desk.put()
        lease = queue.claim("anna")
        assert lease is not None
        finals[queue.resolve("anna", lease.review_id, lease.token, NORMAL).final] += 1
    assert 60 < finals[True] < 140


def test_a_decision_that_does_not_fit_the_part_is_refused_and_the_lease_stays(desk: Desk) -> None:
    desk.put()
    lease = desk.claim()
    mask = desk.store.put(picture(255, 10, 10), ".png").sha256
    for said, why in (
        ({"defects": ["rust"]}, "the defect book has contamination, crack, scratch"),
        ({"regions": [{"camera": "side", "kind": "box", "points": [[0, 0], [1, 1]]}]}, "was seen by top"),
        ({"regions": [{"camera": "top", "kind": "box", "points": [[0, 0], [65, 1]]}]}, "outside 64x48"),
        ({"regions": [{"camera": "top", "kind": "mask", "mask_sha256": mask}]}, "PNG of 64x48 is needed"),
        ({"regions": [{"camera": "top", "kind": "mask", "mask_sha256": "0" * 64}]}, "is not there"),
    ):
        resolution = Resolution.model_validate({"decision": "anomaly", **said})
        with pytest.raises(ResolutionRefused, match=why):
            desk.queue.resolve("anna", lease.review_id, lease.token, resolution)
    whole = desk.store.put(picture(255), ".png").sha256
    regions = [
        {"camera": "top", "kind": "mask", "mask_sha256": whole, "defect": "crack"},
        {"camera": "top", "kind": "polygon", "points": [[0, 0], [64, 0], [10.5, 48]]},
    ]
    resolution = Resolution.model_validate({"decision": "anomaly", "regions": regions})
    desk.queue.resolve("anna", lease.review_id, lease.token, resolution)
    with desk.database.begin() as session:
        (label,) = labels.history(session, lease.review_id)
    assert [(one["kind"], one["mask_sha256"]) for one in label["regions"]] == [("mask", whole), ("polygon", None)]
    assert label["regions"][1]["points"] == [[0, 0], [64, 0], [10.5, 48]]


def test_a_decision_is_told_once_it_is_on_record_and_later_when_redis_was_away(desk: Desk) -> None:
    desk.put()
    lease = desk.decide("anna", CRACK)
    (told,) = desk.told()
    assert (told.review_id, told.decision, told.decided_by) == (lease.review_id, "anomaly", "anna")
    desk.put()
    away = Queue(desk.database, EventLog("unix:///nowhere/valkey.sock"), desk.store, RULES)
    desk.decide("ben", NORMAL, away)
    assert len(desk.told()) == 1 and desk.value("SELECT count(*) FROM reviews WHERE untold") == 1
    execute(
        desk.database.url,
        "ALTER TABLE labels DISABLE TRIGGER append_only",
        "UPDATE labels SET decided_at = decided_at - interval '1 minute'",
    )
    tell_resolved(desk.database, desk.log)
    tell_resolved(desk.database, desk.log)
    assert [one.decided_by for one in desk.told()] == ["anna", "ben"]


def test_the_engineer_is_told_when_reviews_have_waited_too_long_and_not_all_the_time(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    reminder = Reminder(desk.log, desk.database, timedelta(hours=8), every_seconds=0)
    desk.put()
    reminder.remind()
    assert caplog.messages == []
    execute(desk.database.url, "UPDATE reviews SET opened_at = now() - interval '9 hours'")
    reminder.remind()
    reminder.remind()
    (told,) = caplog.messages
    assert told.startswith("1 reviews have waited for a decision for longer than 480 minutes")
    ((_, fields),) = cast(Any, desk.log.client.xrange(desk.log.key(ReviewsOverdue)))
    event = ReviewsOverdue.model_validate_json(fields[b"body"])
    assert (event.overdue, event.ageing_seconds) == (1, 28_800) and event.oldest_seconds > 32_000
    desk.decide("anna")
    reminder.remind()
    desk.put()
    execute(desk.database.url, "UPDATE reviews SET opened_at = now() - interval '9 hours'")
    reminder.remind()
    assert len(caplog.messages) == 2, "it was over, and begins anew"


def test_an_imported_label_supersedes_and_waits_for_who_is_deciding(desk: Desk) -> None:
    inspection_id = desk.put()
    lease = desk.claim("anna")
    with pytest.raises(ReviewStale, match="is being decided by anna"):
        desk.queue.import_label("eve", inspection_id, CRACK)
    desk.queue.resolve("anna", lease.review_id, lease.token, NORMAL)
    assert desk.queue.import_label("eve", inspection_id, CRACK).final
    assert desk.value("SELECT label || ' ' || labeled_by FROM v_part_history") == "anomaly eve"
    assert desk.value("SELECT count(*) FROM labels WHERE source = 'import'") == 1


class Crowd:
    """People who stall, crash and answer late, each in a thread; what they were told is kept beside the tables."""

    def __init__(self, desk: Desk, queue: Queue) -> None:
        self.desk, self.queue, self.accepted, self.lock = desk, queue, Counter[UUID](), threading.Lock()

    def work(self, person: int) -> None:
        luck = random.Random(person)
        while self.desk.value("SELECT EXISTS (SELECT FROM reviews WHERE state = 'open')"):
            lease = self.queue.claim(f"person-{person}")
            if lease is None:
                threading.Event().wait(0.01)
                continue
            self.answer(f"person-{person}", lease, luck)

    def answer(self, person: str, lease: Lease, luck: random.Random) -> None:
        fate = luck.random()
        if fate < 0.1:
            return  # crashed
        if fate < 0.3:
            threading.Event().wait(luck.uniform(0.0, 0.1))  # sometimes later than the lease
        try:
            self.queue.resolve(person, lease.review_id, lease.token, luck.choice((NORMAL, CRACK, CANNOT_TELL)))
        except ReviewStale:
            return
        with self.lock:
            self.accepted[lease.review_id] += 1


def test_many_people_at_once_decide_every_part_once_and_only_under_their_own_running_lease(desk: Desk) -> None:
    for _ in range(150):
        desk.put()
    database = Database(desk.database.url, pool_size=8)
    short = Rules(**{**RULES.__dict__, "lease": timedelta(milliseconds=60)})
    crowd = Crowd(desk, Queue(database, desk.log, desk.store, short))
    try:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(crowd.work, range(8)))
    finally:
        database.close()
    assert set(crowd.accepted.values()) == {1} and len(crowd.accepted) == 150
    assert desk.value("SELECT count(*) FROM labels") == 150
    assert desk.value("SELECT count(DISTINCT review_id) FROM labels") == 150
    assert desk.value("SELECT count(*) FROM labels WHERE decided_at > lease_until") == 0
    assert desk.value("SELECT count(*) FROM labels l JOIN reviews r ON r.label_id = l.id") == 150


def test_a_review_nobody_knows_is_missing(desk: Desk) -> None:
    for attempt in (
        lambda: desk.queue.claim_this("anna", new_id()),
        lambda: desk.queue.heartbeat("anna", new_id(), 1),
        lambda: desk.queue.resolve("anna", new_id(), 1, NORMAL),
        lambda: desk.queue.undo("anna", new_id()),
    ):
        with pytest.raises(ReviewMissing, match="there is no review"):
            attempt()
    with desk.database.begin() as session:
        assert reviews.Filter().condition == "" and labels.opinion_pairs(session) == []
