"""What a candidate model must show before it may replace the champion."""

from __future__ import annotations

from pydantic import Field

from orchestrator.section import Real, Section, Whole


class Gate(Section):
    """When a candidate may replace the champion."""

    minimum_good: Whole = Field(
        default=40, ge=5, le=100_000, description="Fewer good parts in the protected pool decide nothing."
    )
    minimum_anomalies: Whole = Field(
        default=20, ge=5, le=100_000, description="Fewer defective parts in the protected pool decide nothing."
    )
    class_parts: Whole = Field(
        default=10, ge=2, le=100_000, description="A defect class with fewer protected parts is not decided by itself."
    )
    margin: Real = Field(
        default=0.01,
        ge=0,
        le=0.5,
        description="F1 and AUROC may fall, escapes and false rejects rise by so much.",
    )
    class_margin: Real = Field(
        default=0.03, ge=0, le=0.5, description="The recall of a defect class may fall by so much, or by one part."
    )
    disturbance_margin: Real = Field(
        default=0.05,
        ge=0,
        le=0.5,
        description="Right decisions on darker, brighter, blurred, noisy and moved images may fall by so much.",
    )
    least_gain: Real = Field(
        default=0.0,
        ge=0,
        le=0.5,
        description="The gain in F1, escapes or AUROC is, with 95 % confidence, more than this.",
    )
    latency_factor: Real = Field(
        default=3.0, ge=1, le=100, description="An image may take the candidate so many times as long as the champion."
    )
    disturbed_parts: Whole = Field(
        default=100, ge=4, le=10_000, description="Protected parts that are also judged under disturbances."
    )
    maximum_label_noise: Real = Field(
        default=0.1, gt=0, le=0.5, description="A training whose labels contradict their neighbours more is refused."
    )
    resamples: Whole = Field(
        default=1000, ge=200, le=100_000, description="Drawn pools that the confidence intervals come from."
    )
