"""The settings of a recipe: what a station does for a product."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from orchestrator.section import Folder, Real, Section, Whole


class FolderTeaching(Section):
    """Known-good parts from a folder."""

    kind: Literal["folder"] = Field(description="Known-good parts from a folder.")
    path: Folder = Field(
        description="Folder with images of known-good parts; relative to the configuration's folder.",
        examples=["known-good"],
    )
    groups: Folder | None = Field(
        default=None,
        description="CSV file with columns image (file name) and group: images of one part have the same group. "
        "Not set: each image shows a part of its own.",
        examples=["known-good/groups.csv"],
    )


class ElpvTeaching(Section):
    """Known-good solar cells of the ELPV dataset (extra `demo`)."""

    kind: Literal["elpv"] = Field(description="Known-good solar cells of the ELPV dataset (extra `demo`).")
    cells: Literal["mono", "poly", "all"] = Field(default="mono", description="Which cells to learn from.")
    count: Whole = Field(default=200, ge=10, le=1508, description="How many known-good cells to learn from.")
    seed: Whole = Field(default=0, ge=0, le=2**32 - 1, description="Makes the choice of cells repeatable.")


AnyTeaching = Annotated[FolderTeaching | ElpvTeaching, Field(discriminator="kind")]


class Recipe(Section):
    """What a station does for a product."""

    detector: Literal["patchcore"] = Field(default="patchcore", description="The model that scores the frames.")
    image_size: Whole = Field(
        default=256, ge=64, le=1024, multiple_of=32, description="Side of the detector's square input, in pixels."
    )
    target_false_reject_rate: Real = Field(
        default=0.05, gt=0, lt=0.5, description="Share of known-good parts that the NG threshold may reject."
    )
    review_share: Real = Field(
        default=0.05,
        ge=0,
        lt=1,
        description="Share of known-good parts that may fall between the two thresholds, into REVIEW.",
    )
    sample_rate: Real = Field(
        default=0.02, ge=0, le=1, description="Share of OK parts sent to REVIEW at random, so that escapes are found."
    )
    seed: Whole = Field(default=0, ge=0, le=2**32 - 1, description="Makes teaching repeatable.")
    teach: AnyTeaching | None = Field(
        default=None, description="What the first model is taught from. Not set: a model must be imported and deployed."
    )
