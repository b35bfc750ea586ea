"""The settings of a recipe: what a station does for a product."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from cronsim import CronSim, CronSimError
from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from orchestrator.gate import Gate
from orchestrator.section import Folder, Real, Section, Text, Whole, allowed

PUBLISHED_IMAGE_SIZE = 518  # AnomalyCLIP's
SIDE_MULTIPLE = 32  # EfficientNet-Lite0 halves the image five times
CRON_FIELDS = 5


FeaturesList = Annotated[tuple[Whole, ...], Field(min_length=1), allowed("a list of rising block numbers")]


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


TileCounts = Annotated[
    str, Field(pattern=r"^([1-9]|1[0-2])x([1-9]|1[0-2])$"), allowed("ROWSxCOLUMNS such as 2x3, each from 1 to 12")
]
ImageSize = Annotated[
    Whole, allowed("a whole number from 64 to 1024; for patchcore on efficientnet-lite0 a multiple of 32")
]
AnyTeaching = Annotated[FolderTeaching | ElpvTeaching, Field(discriminator="kind")]


def known_schedule(given: str) -> str:
    """A cron expression of five fields."""
    try:
        fields = len(given.split())
        CronSim(given, datetime(2026, 1, 1, tzinfo=UTC))
    except CronSimError as error:
        raise PydanticCustomError("cron", f"a cron expression with another mistake: {error}") from error
    if fields != CRON_FIELDS:
        raise PydanticCustomError("cron", "a cron expression with another number of fields")
    return given


Cron = Annotated[
    str,
    AfterValidator(known_schedule),
    allowed('a cron expression of minute, hour, day of month, month and day of week, such as "0 3 * * *"'),
]


class Retrain(Section):
    """When the recipe's model is retrained by itself; by hand it can be at any time."""

    cron: Cron | None = Field(
        default=None,
        description="When, in UTC, as cron writes it: minute, hour, day of month, month, day of week. Not set: never.",
        examples=["0 3 * * *"],
    )
    after_labels: Whole = Field(
        default=0,
        ge=0,
        le=1_000_000,
        description="After so many parts were decided normal or anomaly since the last run began; 0 is never.",
    )
    test_share: Real = Field(
        default=0.2,
        gt=0,
        lt=1,
        description="Of the newly decided parts, drawn whatever their verdict, the share that joins the protected "
        "pool: models are judged on it and never learn from it.",
    )
    doubt: Real = Field(
        default=0.35,
        ge=0,
        lt=0.5,
        description="A label is not learned from, and listed for an engineer, when images like it give it less than "
        "this probability. Lower where those who decide are sure to be right: what only they see must be learned.",
    )
    on_drift: bool = Field(
        default=False,
        description="When the scores drift from the champion's reference, and the camera is not why.",
    )
    fine_tune_from: Whole = Field(
        default=100,
        ge=0,
        le=1_000_000,
        description="With so many good and so many defective images to learn from, the backbone's last blocks are "
        "fine-tuned, too, and anomalyclip's prompts are learned on; 0 is never.",
    )


class Recipe(Section):
    """What a station does for a product."""

    detector: Literal["patchcore", "anomalyclip"] = Field(
        default="patchcore",
        description="The model that scores the frames: patchcore learns from known-good parts; anomalyclip inspects "
        "from the first part on, and better with known-good ones.",
    )
    backbone: Text = Field(
        default="efficientnet-lite0",
        description="What patchcore sees with: efficientnet-lite0 comes with adline; or the visual tower of CLIP "
        "weights in the models folder, MODEL:TAG of open_clip, which `adline model pull` gets.",
        examples=["ViT-B-16:openai"],
    )
    clip: Text | None = Field(
        default=None,
        description="CLIP weights of anomalyclip in the models folder, MODEL:TAG of open_clip; `adline model pull` "
        "gets them.",
        examples=["ViT-L-14-336:openai"],
    )
    prompts: Text | None = Field(
        default=None,
        description="Learned prompts of anomalyclip in the models folder; `adline model import` takes them in.",
        examples=["epoch_15"],
    )
    dpam_layer: Annotated[Whole, Field(ge=1, le=100)] | None = Field(
        default=None,
        description="The last dpam_layer - 1 blocks of anomalyclip's visual tower have V-V attention. Not set: at the "
        "published depth, 20 for 24 blocks, 10 for 12.",
        examples=[20],
    )
    features_list: FeaturesList | None = Field(
        default=None,
        description="Blocks whose patches are scored, counted from 1, by anomalyclip or by patchcore with a CLIP for "
        "its backbone. Not set: for anomalyclip the last, for patchcore those at half and three quarters of the depth.",
        examples=[[6, 12, 18, 24]],
    )
    image_size: ImageSize = Field(
        default=256,
        ge=64,
        le=1024,
        description="Side of the detector's square input, in pixels; anomalyclip takes 518 when not told, and a CLIP "
        "as many whole patches as come nearest.",
    )
    tiles: TileCounts = Field(
        default="1x1",
        description="Overlapping tiles patchcore cuts a frame into, each scored at image_size: for defects that vanish "
        "when a large frame is shrunk to one square. Time to teach and to score grows with their number.",
    )
    local_contrast: bool = Field(
        default=True,
        description="patchcore sees each place against its surroundings, whatever the exposure or the shading; false "
        "where the brightness of the whole part is what tells good from bad.",
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
    ng_sample_rate: Real = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Share of NG parts put before operators at random; they stay NG. With sample_rate as large, what "
        "people decide is a fair draw of all parts: a test pool needs the rejected ones, too.",
    )
    seed: Whole = Field(default=0, ge=0, le=2**32 - 1, description="Makes teaching repeatable.")
    retrain: Retrain = Field(default_factory=Retrain, description="When the model is retrained by itself.")
    approval: Literal["one", "two"] = Field(
        default="one",
        description="Persons it takes to deploy a model version; with two, an engineer or admin who did not ask for it "
        "approves. A rollback takes one.",
    )
    teach: AnyTeaching | None = Field(
        default=None,
        description="What the first model is taught from. Not set: anomalyclip inspects without, and promises nothing "
        "about false rejects; for patchcore a model must be imported and deployed.",
    )

    gate: Gate = Field(default_factory=Gate, description="When a candidate may replace the champion.")

    @model_validator(mode="before")
    @classmethod
    def published_size(cls, given: Any) -> Any:
        """The default side is the detector's own."""
        if isinstance(given, dict) and given.get("detector") == "anomalyclip":
            return {"image_size": PUBLISHED_IMAGE_SIZE, **given}
        return given

    @property
    def minimum_side(self) -> int:
        """Pixels a frame keeps on either side when it is decoded."""
        from workers.detectors.tiles import Tiles  # numpy is heavy: only where it is used

        return Tiles.parse(self.tiles).minimum_side(self.image_size)
