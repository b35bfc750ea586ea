"""What a person says of a part: the words of the API, of the rows and of every import."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from storage.events import Fact
from storage.label_models import Decision, RegionKind

PRINTABLE = r"^[^\x00-\x1f\x7f]+$"  # Postgres holds no NUL, and no label shows a line break
Name = Annotated[str, Field(min_length=1, max_length=200, pattern=PRINTABLE)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the stored image.")]
Coordinate = Annotated[float, Field(ge=0, le=65536), AfterValidator(lambda value: round(value, 3))]
"""Pixels, to a thousandth: percentages, as some programs write them, then lead back to the same number."""
Point = tuple[Coordinate, Coordinate]
Note = Annotated[str, Field(max_length=4000, pattern=r"^[^\x00]*$")]

MOST_POINTS = 10_000
MOST_REGIONS = 200


class RegionFacts(Fact):
    """Where on a frame the defect is, in pixels of the stored image: a box, a polygon, or a mask."""

    camera: Name
    kind: RegionKind
    defect: Name | None = None
    points: Annotated[list[Point], Field(max_length=MOST_POINTS)] | None = Field(
        default=None, description="Corners of the polygon, or the two opposite corners of the box."
    )
    mask_sha256: Sha256 | None = Field(
        default=None, description="A stored PNG of the frame's size, 255 where defective."
    )

    @model_validator(mode="after")
    def drawn(self) -> Self:
        if (self.kind is RegionKind.MASK) != (self.mask_sha256 is not None and self.points is None):
            raise ValueError("a mask has mask_sha256 and no points, a box or polygon has points and no mask_sha256")
        if self.points is not None:
            self.check_corners(self.points)
        return self

    def check_corners(self, points: list[Point]) -> None:
        if self.kind is RegionKind.BOX:
            if len(points) != 2 or points[0][0] == points[1][0] or points[0][1] == points[1][1]:
                raise ValueError("a box has two corners that differ in x and in y")
        elif len(points) < 3:
            raise ValueError("a polygon has at least three corners")


class Resolution(Fact):
    """An operator's decision about a part."""

    decision: Literal[Decision.NORMAL, Decision.ANOMALY, Decision.CANNOT_TELL]
    defects: Annotated[list[Name], Field(max_length=50)] = Field(
        default=[], description="Classes of the defect book, the most important first."
    )
    regions: Annotated[list[RegionFacts], Field(max_length=MOST_REGIONS)] = Field(default=[])
    note: Note = ""
    took_milliseconds: Annotated[int, Field(ge=0, le=86_400_000)] | None = Field(
        default=None, description="How long the part was shown; not set: since it was claimed."
    )

    @model_validator(mode="after")
    def agree(self) -> Self:
        if self.decision is not Decision.ANOMALY and (self.defects or self.regions):
            raise ValueError(f"only an anomaly has defects and regions, and this is {self.decision.value}")
        if len(set(self.defects)) < len(self.defects):
            raise ValueError("each defect class once")
        return self

    def named_defects(self) -> set[str]:
        return {*self.defects, *(region.defect for region in self.regions if region.defect)}
