"""Prometheus metrics, made when they are asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from orchestrator.counting import Counting
from orchestrator.health import LineHealth, camera_up
from orchestrator.line_routes import DAY, StationStates
from orchestrator.tally import BUCKETS, Tally
from storage import records
from storage.errors import DatabaseUnavailable, StreamUnavailable
from storage.stream import EventLog


class LineMetrics:
    """One collection of the line's metrics."""

    def __init__(
        self,
        health: LineHealth,
        tally: Tally,
        log: EventLog,
        counting: Counting,
        states: StationStates,
        recipes: Mapping[str, str],
    ) -> None:
        """recipes: of each station."""
        self.line_health, self.tally, self.log = health, tally, log
        self.counting, self.states, self.recipes = counting, states, recipes

    def collect(self) -> Iterator[Metric]:
        yield from self.parts()
        yield from self.cameras()
        yield from self.streams()
        yield from self.queue()
        yield from self.drift()
        yield from self.health()

    def parts(self) -> Iterator[Metric]:
        labels = ["station", "recipe", "verdict"]
        parts = CounterMetricFamily("adline_parts", "Parts with a recorded verdict.", labels=labels)
        stages = HistogramMetricFamily("adline_stage_latency_seconds", "Time a part spends.", labels=["stage"])
        with self.tally.lock:
            for (station, verdict), count in sorted(self.tally.verdicts.items()):
                parts.add_metric([station, self.recipes.get(station, ""), verdict], count)
            for stage, histogram in sorted(self.tally.stages.items()):
                buckets = [*zip(map(str, BUCKETS), map(float, histogram.counts), strict=True)]
                stages.add_metric([stage], [*buckets, ("+Inf", float(histogram.count))], histogram.sum)
        yield parts
        yield stages

    def cameras(self) -> Iterator[Metric]:
        up = GaugeMetricFamily("adline_camera_up", "1 when the camera delivers.", labels=["station", "camera"])
        triggers = CounterMetricFamily("adline_triggers", "Triggers given to a camera.", labels=["station", "camera"])
        frames = CounterMetricFamily("adline_frames", "Frames a camera delivered.", labels=["station", "camera"])
        for worker in self.line_health.workers:
            station = worker.name.removeprefix("capture-")
            for camera, facts in worker.facts.get("cameras", {}).items():
                up.add_metric([station, camera], float(camera_up(worker, facts)))
            for camera, counted in worker.facts.get("triggers", {}).items():
                triggers.add_metric([station, camera], counted["triggers"])
                frames.add_metric([station, camera], counted["frames"])
        yield from (up, triggers, frames)

    def streams(self) -> Iterator[Metric]:
        """Left out while Redis does not answer: an absent value alarms, a wrong one does not."""
        pending = GaugeMetricFamily("adline_stream_pending", "Delivered, not acknowledged.", labels=["stream", "group"])
        lag = GaugeMetricFamily("adline_stream_lag", "Not yet delivered.", labels=["stream", "group"])
        dead = GaugeMetricFamily("adline_stream_dead_total", "Entries set aside (dead letters).")
        try:
            for state in self.log.groups():
                pending.add_metric([state.key, state.group], state.pending)
                lag.add_metric([state.key, state.group], state.lag)
            dead.add_metric([], self.log.dead_count())
        except StreamUnavailable:
            return
        yield from (pending, lag, dead)

    def queue(self) -> Iterator[Metric]:
        opened = GaugeMetricFamily("adline_queue_open", "Reviews that wait for an operator.")
        oldest = GaugeMetricFamily("adline_queue_oldest_seconds", "Age of the oldest open review.")
        overdue = GaugeMetricFamily("adline_queue_overdue", "Reviews open for longer than labeling.ageing_minutes.")
        leased = GaugeMetricFamily("adline_queue_leased", "Reviews that a person is deciding.")
        rejects = GaugeMetricFamily(
            "adline_false_reject_ratio", "Of good parts of a day, by the samples people decided.", labels=["station"]
        )
        try:
            counts, states = self.counting.counts(), self.states.of(DAY)
        except DatabaseUnavailable:
            return
        for state in states:
            if state.false_rejects:
                rejects.add_metric([state.station], state.false_rejects.share)
        opened.add_metric([], counts["open"])
        oldest.add_metric([], counts["oldest_seconds"])
        overdue.add_metric([], counts["overdue"])
        leased.add_metric([], counts["leased"])
        yield from (opened, oldest, overdue, leased, rejects)

    def drift(self) -> Iterator[Metric]:
        psi = GaugeMetricFamily("adline_drift_psi", "Scores against the reference's.", labels=["station", "camera"])
        ks = GaugeMetricFamily("adline_drift_ks", "Scores against the reference's.", labels=["station", "camera"])
        gauges = {"psi": psi, "ks": ks}
        for name in ("embedding_psi", "embedding_ks"):
            said = "Embeddings against the reference's."
            gauges[name] = GaugeMetricFamily(f"adline_drift_{name}", said, labels=["station", "camera"])
        labels = ["station", "camera", "cause"]
        alarms = GaugeMetricFamily("adline_drift_alarms", "Alarms nobody acknowledged.", labels=labels)
        facts = [worker.facts for worker in self.line_health.workers if worker.stage == "drift"]
        for one in (one for found in facts for one in found.get("drift", {}).values()):
            for name, metric in gauges.items():
                if one.get(name) is not None:
                    metric.add_metric([one["station"], one["camera"]], one[name])
        opened = [
            (one["station"], one["camera"], one["cause"]) for found in facts for one in found.get("drift_alarms", [])
        ]
        for place, count in sorted(Counter(opened).items()):
            alarms.add_metric(list(place), count)
        yield from (*gauges.values(), alarms)

    def health(self) -> Iterable[Metric]:
        ready = GaugeMetricFamily("adline_ready", "1 when a check of /readyz holds.", labels=["check"])
        for name, found in self.line_health.checks().items():
            ready.add_metric([name], float(found["ok"]))
        restarts = CounterMetricFamily("adline_worker_restarts", "Times a worker was started again.", labels=["worker"])
        models = GaugeMetricFamily("adline_model_info", "The deployed model.", labels=["recipe", "version", "alias"])
        for worker in self.line_health.workers:
            restarts.add_metric([worker.name], worker.restarts)
        loaded = {item for worker in self.line_health.workers for item in worker.facts.get("models", {}).items()}
        for recipe, version in sorted(loaded):
            models.add_metric([recipe, version, records.CHAMPION], 1)
        storage = GaugeMetricFamily("adline_storage_bytes", "Of the disk the images are on.", labels=["state"])
        storage.add_metric(["free"], self.line_health.disk.free_bytes)
        storage.add_metric(["used"], self.line_health.disk.used_bytes)
        return ready, restarts, models, storage


def exposition(metrics: LineMetrics) -> tuple[bytes, str]:
    """The metrics in Prometheus' text format, and its media type."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(metrics)
    return generate_latest(registry), CONTENT_TYPE_LATEST
