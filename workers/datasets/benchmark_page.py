"""A benchmark as one HTML page: figures, curves, histograms, and images with their heat maps."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure
from sklearn.metrics import precision_recall_curve, roc_curve

from workers.datasets.benchmark import Report, scores_of, truth_of
from workers.datasets.gallery import gallery
from workers.datasets.judging import Judgement, Trial
from workers.datasets.page import page, plot, section, table, warning
from workers.datasets.sample import Dataset

CLASS_FIGURES = ("images", "image_auroc", "image_ap", "f1_best", "recall", "pixel_auroc", "aupro")


def benchmark_page(dataset: Dataset, trial: Trial, report: Report) -> str:
    threshold = trial.detector.ng_threshold
    told_elsewhere = ("classes", "peer", "warnings")
    whole = [(name, told(value)) for name, value in report.items() if name not in told_elsewhere]
    by_class = [(name, *(found[one] for one in CLASS_FIGURES)) for name, found in report["classes"].items()]
    return page(
        f"{report['detector']} on {dataset.root.absolute().name}",
        *map(warning, report["warnings"]),
        section("Figures", table(("figure", "value"), whole)),
        section("Defect classes, each against all good images", table(("class", *CLASS_FIGURES), by_class)),
        *([section("Beside it", table(("figure", "value"), list(report["peer"].items())))] if "peer" in report else []),
        section("Curves", plot(curves(trial.judgements))),
        section("Scores", plot(histograms(trial.judgements, threshold))),
        gallery(dataset, trial.judgements, threshold),
    )


def told(value: object) -> object:
    return " to ".join(f"{one:.3f}" for one in value) if isinstance(value, list) else value


def curves(judgements: Sequence[Judgement]) -> Figure:
    scores, is_anomaly = scores_of(judgements), truth_of(judgements)
    figure = Figure(figsize=(9, 4))
    roc, pr = figure.subplots(1, 2)
    false_positives, caught, _ = roc_curve(is_anomaly, scores)
    roc.step(false_positives, caught, where="post")
    roc.set(title="ROC", xlabel="good parts rejected", ylabel="anomalies caught", xlim=(0, 1), ylim=(0, 1.02))
    precision, recall, _ = precision_recall_curve(is_anomaly, scores)
    pr.step(recall, precision, where="post")
    pr.set(title="Precision and recall", xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
    return figure


def histograms(judgements: Sequence[Judgement], threshold: float) -> Figure:
    scores, is_anomaly = scores_of(judgements), truth_of(judgements)
    figure = Figure(figsize=(9, 3.5))
    axes = figure.subplots()
    both = [scores[~is_anomaly], scores[is_anomaly]]
    axes.hist(both, bins=40, range=(0, 1), label=["good", "anomaly"], color=["tab:green", "tab:red"])
    axes.axvline(threshold, color="black", linestyle="--", label="threshold")
    axes.set(xlabel="anomaly_score", ylabel="images")
    axes.legend(loc="upper right")
    return figure
