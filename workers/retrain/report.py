"""The gate's answer for people: one page with every figure, curve and changed decision, and the same as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from matplotlib.figure import Figure
from sklearn.metrics import precision_recall_curve, roc_curve

from storage.images import decode
from workers.datasets.gallery import SIDE, thumbnail
from workers.datasets.page import page, paragraph, picture, plot, row, section, table
from workers.retrain import resampling
from workers.retrain.check import figure
from workers.retrain.evaluation import Evaluation
from workers.retrain.gate import GateDecision
from workers.retrain.pool import PoolItem, Scored
from workers.retrain.resampling import Floats, Interval, Ranked

PAGE: Final = "report.html"
RECORD: Final = "report.json"
MOST_SHOWN: Final = 24
SHOWN: Final = 160  # pixels
RESAMPLES: Final = 500
COLOURS: Final = ("tab:blue", "tab:orange")


def write_report(
    folder: Path,
    decision: GateDecision,
    champion: Evaluation,
    candidate: Evaluation,
    items: Sequence[PoolItem],
    facts: Mapping[str, Any] | None = None,
    more: Sequence[str] = (),
) -> Path:
    """Both files into the folder; return the page. facts: what else is known of the run, such as its snapshot.

    more: further sections of the page.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RECORD).write_text(json.dumps(report(decision, champion, candidate, facts or {})), encoding="utf-8")
    (folder / PAGE).write_text(report_page(decision, champion, candidate, items, facts or {}, more), encoding="utf-8")
    return folder / PAGE


def report(
    decision: GateDecision, champion: Evaluation, candidate: Evaluation, facts: Mapping[str, Any]
) -> dict[str, Any]:
    """Everything the decision can be made from again."""
    both = {"champion": champion, "candidate": candidate}
    return {
        "decision": decision.record(),
        "facts": dict(facts),
        "figures": {name: figures(one) for name, one in both.items()},
        "evaluations": {name: one.record() for name, one in both.items()},
    }


def figures(evaluation: Evaluation) -> dict[str, Any]:
    """Of one model on the pool, each with its interval where it has one; rates in [0, 1]. Nothing tells good parts
    from defective ones where there are not both."""
    truth = evaluation.is_anomaly
    found = telling(evaluation) if both_kinds(evaluation) else {}
    times = [one.milliseconds for one in evaluation.images] or [0.0]
    return {
        "model": evaluation.model,
        "parts": len(truth),
        "anomalies": int(truth.sum()),
        **{name: with_interval(values) for name, values in found.items()},
        "false_rejects": counted(evaluation.rejected[~truth]),
        "escapes": counted(evaluation.passed[truth]),
        "class_recall": {name: counted(evaluation.rejected[has]) for name, has in evaluation.classes.items()},
        "unscored": evaluation.failures,
        "milliseconds_p50": float(np.median(times)),
        "milliseconds_p95": float(np.percentile(times, 95)),
        "f1_disturbed": {name: f1_disturbed(evaluation, name) for name in evaluation.disturbances},
    }


def both_kinds(evaluation: Evaluation) -> bool:
    return 0 < int(evaluation.is_anomaly.sum()) < len(evaluation.parts)


def telling(evaluation: Evaluation) -> dict[str, Floats]:
    """How well good parts are told from defective ones: of the pool itself, then of each drawn one."""
    truth, scores = evaluation.is_anomaly, evaluation.scores
    weights = resampling.draws(truth, RESAMPLES, seed=0)
    ranked = Ranked(truth, scores, weights)
    thresholds = ranked.thresholds_at(evaluation.target_false_reject_rate)
    return {
        "f1": resampling.f1(truth, evaluation.rejected, weights),
        "f1_best": ranked.best_f1(),
        "auroc": ranked.auroc(),
        "average_precision": ranked.average_precision(),
        "escapes_at_promise": 1 - resampling.caught_from(thresholds, scores, truth, weights),
    }


def with_interval(values: Floats) -> dict[str, Any]:
    return {"value": float(values[0]), "interval": list(resampling.interval(values))}


def counted(marked: resampling.Truth) -> dict[str, Any]:
    """A rate with Wilson's interval; None of nothing."""
    count, of = int(marked.sum()), len(marked)
    bounds: Interval = resampling.wilson(count, of)
    return {"value": count / of if of else None, "count": count, "of": of, "interval": list(bounds)}


def f1_disturbed(evaluation: Evaluation, name: str) -> float:
    scores = evaluation.disturbed(name)
    drawn = ~np.isnan(scores)
    weights = np.ones((1, int(drawn.sum())))
    rejected = scores[drawn] >= evaluation.ng_threshold
    return float(resampling.f1(evaluation.is_anomaly[drawn], rejected, weights)[0])


def report_page(
    decision: GateDecision,
    champion: Evaluation,
    candidate: Evaluation,
    items: Sequence[PoolItem],
    facts: Mapping[str, Any],
    more: Sequence[str] = (),
) -> str:
    both = (champion, candidate)
    checks = [
        (one.name, figure(one.before), figure(one.after), spoken(one.interval), one.need, "yes" if one.passed else "NO")
        for one in decision.checks
    ]
    columns = ("figure", champion.model, candidate.model, "difference, 95 %", "need", "met")
    return page(
        f"{candidate.model} against {champion.model}",
        paragraph(decision.sentence),
        section("The run", table(("what", "is"), list(facts.items()))) if facts else "",
        section("What the gate looked at", table(columns, checks)),
        *more,
        section("Figures on the protected pool", figure_table(both)),
        section("Confusion", *(confusion(one) for one in both)),
        *plots(both),
        section("Decisions that would change", *changed(both, items)),
    )


def plots(both: Sequence[Evaluation]) -> list[str]:
    """None of a pool without good or without defective parts."""
    if not all(both_kinds(one) for one in both):
        return []
    return [section("Curves", plot(curves(both))), section("Scores", plot(histograms(both)))]


def spoken(bounds: Interval) -> str:
    return f"{figure(bounds.low)} to {figure(bounds.high)}"


def figure_table(both: Sequence[Evaluation]) -> str:
    found = [figures(one) for one in both]
    names = [name for name, value in found[0].items() if isinstance(value, dict) and "interval" in value]
    rows: list[list[object]] = [[name, *(told(one[name]) for one in found)] for name in names]
    classes = sorted({name for one in found for name in one["class_recall"]})
    rows += [[f"recall of {name}", *(told(one["class_recall"][name]) for one in found)] for name in classes]
    rows += [
        [f"F1 on {name} images", *(one["f1_disturbed"].get(name) for one in found)] for name in both[0].disturbances
    ]
    rows += [[name, *(one[name] for one in found)] for name in ("milliseconds_p50", "milliseconds_p95", "unscored")]
    return table(("figure", *(one.model for one in both)), rows)


def told(value: Mapping[str, Any]) -> str:
    if value["value"] is None:
        return "-"
    low, high = value["interval"]
    count = f"{value['count']} of {value['of']}: " if "of" in value else ""
    return f"{count}{figure(value['value'])} ({figure(low)} to {figure(high)})"


def confusion(evaluation: Evaluation) -> str:
    """Truth against what the line would do."""
    review = ~evaluation.rejected & ~evaluation.passed
    rows = [
        [name, *(int((has & which).sum()) for which in (evaluation.passed, review, evaluation.rejected))]
        for name, has in (("good", ~evaluation.is_anomaly), ("defective", evaluation.is_anomaly))
    ]
    return table((evaluation.model, "OK", "REVIEW", "NG"), rows)


def curves(both: Sequence[Evaluation]) -> Figure:
    drawn = Figure(figsize=(9, 4))
    roc, pr = drawn.subplots(1, 2)
    for one, colour in zip(both, COLOURS, strict=True):
        false, caught, _ = roc_curve(one.is_anomaly, one.scores)
        roc.step(false, caught, where="post", color=colour, label=one.model)
        precision, recall, _ = precision_recall_curve(one.is_anomaly, one.scores)
        pr.step(recall, precision, where="post", color=colour, label=one.model)
    roc.set(title="ROC", xlabel="good parts rejected", ylabel="anomalies caught", xlim=(0, 1), ylim=(0, 1.02))
    pr.set(title="Precision and recall", xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
    roc.legend(loc="lower right")
    return drawn


def histograms(both: Sequence[Evaluation]) -> Figure:
    drawn = Figure(figsize=(9, 3.5))
    for one, axes in zip(both, drawn.subplots(1, 2), strict=True):
        parts = [one.scores[~one.is_anomaly], one.scores[one.is_anomaly]]
        axes.hist(parts, bins=30, range=(0, 1), label=["good", "anomaly"], color=["tab:green", "tab:red"])
        axes.axvline(one.ng_threshold, color="black", linestyle="--")
        axes.set(title=one.model, xlabel="anomaly_score", ylabel="parts")
    axes.legend(loc="upper right")
    return drawn


def changed(both: Sequence[Evaluation], items: Sequence[PoolItem]) -> list[str]:
    """Pictures of the parts that one model rejects and the other does not; the candidate's mistakes come first."""
    champion, candidate = both
    rejected = {
        part: (bool(before), bool(after))
        for part, before, after in zip(champion.parts, champion.rejected, candidate.rejected, strict=True)
    }
    by_name = {item.name: item for item in items}
    found = [one for one in candidate.images if rejected[one.part][0] != rejected[one.part][1] and one.name in by_name]
    mistakes: list[Scored] = []
    gains: list[Scored] = []
    for one in found:
        right = rejected[one.part][1] == one.is_anomaly
        (gains if right else mistakes).append(one)
    shown = []
    for title, chosen in (("Wrong now, right before", mistakes), ("Right now, wrong before", gains)):
        cut = f", the first {MOST_SHOWN} are shown" if len(chosen) > MOST_SHOWN else ""
        shown.append(paragraph(f"{title}: {len(chosen)} images{cut}"))
        shown.append(row([shown_item(by_name[one.name], one.anomaly_score) for one in chosen[:MOST_SHOWN]]))
    return shown


def shown_item(item: PoolItem, score: float | None) -> str:
    truth = ", ".join(item.defects) or "anomaly" if item.is_anomaly else "good"
    said = "not scored" if score is None else f"score {score:.3f}"
    image = cv2.resize(thumbnail(decode(item.read(), minimum_side=SIDE)), (SHOWN, SHOWN), interpolation=cv2.INTER_AREA)
    return picture(np.asarray(image, np.uint8), f"{truth}, {said}")
