"""A part's whole life: images, predictions, verdict, reviews, and what people said, when, and how long it took."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime
from typing import Any

from nicegui import ui
from starlette.requests import Request

from storage.database import Database
from storage.life import InspectionLife, life
from workers.labeling.web.frame import Visitor, frame, visitor_of
from workers.labeling.web.regions import show_regions
from workers.labeling.web.words import Words

LOOK_AGAIN = (
    "() => fetch('/api/v1/reviews', {{method: 'POST', headers: {{'content-type': 'application/json'}},"
    " body: JSON.stringify({{inspection_id: {id}}})}}).then(() => location.reload())"
)


def part_page(line: str, database_url: str) -> None:
    database = Database(database_url, pool_size=2)

    def read(name: str, person: str) -> list[InspectionLife]:
        with database.begin() as session:
            return life(session, name, person)

    @ui.page("/part/{name:path}")
    async def show(request: Request, name: str) -> None:
        visitor = visitor_of(request)
        found = await asyncio.to_thread(read, name, visitor.name)
        with frame(visitor, line, "part"):
            for one in found:
                show_inspection(one, visitor)
            if not found:
                ui.label(visitor.words["not_on_record"]).classes("nothing")


def show_inspection(one: InspectionLife, visitor: Visitor) -> None:
    words, first = visitor.words, one.views[0]
    with ui.element("article").classes("life"):
        with ui.element("h1"):
            verdict = first["verdict"] or "…"
            ui.label(verdict).classes(f"badge {verdict}")
            ui.label(first["part_id"] or str(one.id))
        with ui.element("div").classes("seen"):
            for view in one.views:
                show_view(view, one.review, words)
        facts(
            (words["verdict"], first["reason"]),
            (words["station"], first["station"]),
            (words["product"], first["product"]),
            (words["lot"], first["lot"]),
            (words["triggered"], moment(first["triggered_at"])),
            (words["recorded"], moment(first["recorded_at"])),
        )
        show_decisions(one, visitor)


def show_view(view: dict[str, Any], review: dict[str, Any] | None, words: Words) -> None:
    """The picture with its heat map, and what was drawn on it by the decision that holds."""
    if view["sha256"] is None:
        return
    address = f"/api/v1/images/{view['sha256']}"
    with ui.element("figure"):
        with ui.link(target=address).classes("over"):
            ui.element("img").props(f'src="{address}/rendition" alt=""')
            if view["map_sha256"]:
                ui.element("img").props(f'src="/api/v1/images/{view["map_sha256"]}/heatmap" alt=""').classes("heat")
            if review:
                show_held(review, view["camera"])
        facts(
            (words["camera"], view["camera"]),
            (words["score"], score(view, words)),
            (words["threshold"], number(view["ng_threshold"])),
            (words["model"], view["model_version"]),
            ("SHA-256", view["sha256"]),
        )


def show_held(review: dict[str, Any], camera: str) -> None:
    """What the decision that holds drew on this camera's picture."""
    (view,) = (view for view in review["views"] if view["camera"] == camera)
    for label in review["labels"]:
        if label["id"] == review["label_id"] and (regions := regions_on(label, camera)):
            show_regions(regions, view["width"], view["height"])


def regions_on(label: dict[str, Any], camera: str) -> list[dict[str, Any]]:
    return [region for region in label["regions"] if region["camera"] == camera]


def score(view: dict[str, Any], words: Words) -> str | None:
    """With the share of known-good parts that scored lower, which is comparable between model versions."""
    shown, percent = number(view["anomaly_score"]), view["percentile_of_good"]
    if shown is None or percent is None:
        return shown
    return f"{shown}, {words['above_good'].format(percent=f'{percent:.0f}')}"


def show_decisions(one: InspectionLife, visitor: Visitor) -> None:
    words, review = visitor.words, one.review
    ui.label(words["decisions"]).classes("heading")
    with ui.element("ol").classes("decisions"):
        if review:
            for label in review["labels"]:
                show_label(label, review, words)
    if not review or not review["labels"]:
        ui.label(words["none"])
    if visitor.decides and (review is None or review["state"] == "resolved"):
        with ui.element("button").on("click", js_handler=LOOK_AGAIN.format(id=json.dumps(str(one.id)))):
            ui.label(words["look_again"])


def show_label(label: dict[str, Any], review: dict[str, Any], words: Words) -> None:
    took = label["took_milliseconds"]
    told = [label["decided_by"], moment(label["decided_at"])]
    told += [words["took"].format(seconds=f"{took / 1000:.1f}")] if took is not None else []
    with ui.element("li").classes(label["decision"]):
        ui.label(", ".join([words[label["decision"]], *label["defects"]])).classes("said")
        ui.label(" · ".join(told)).classes("who")
        if label["note"]:
            ui.label(label["note"]).classes("note")
        for view in review["views"]:
            if regions := regions_on(label, view["camera"]):
                show_drawing(regions, view, words)


def show_drawing(regions: list[dict[str, Any]], view: dict[str, Any], words: Words) -> None:
    """What a decision drew on one picture; also that of one that no longer holds."""
    with ui.element("figure").classes("drawing"):
        with ui.element("div").classes("over"):
            ui.element("img").props(f'src="/api/v1/images/{view["sha256"]}/rendition" alt="" loading="lazy"')
            show_regions(regions, view["width"], view["height"])
        with ui.element("figcaption"):
            kinds = [named(region, words) for region in regions]
            ui.label(", ".join(f"{kind}: {kinds.count(kind)}" for kind in dict.fromkeys(kinds)))


def named(region: dict[str, Any], words: Words) -> str:
    kind = words[region["kind"]]
    return f"{kind} ({region['defect']})" if region["defect"] else kind


def facts(*rows: tuple[str, str | None]) -> None:
    with ui.element("dl").classes("facts"):
        for name, value in rows:
            if value:
                with ui.element("dt"):
                    ui.label(name)
                with ui.element("dd"):
                    ui.label(value)


def moment(at: datetime | None) -> str | None:
    return at.astimezone().strftime("%Y-%m-%d %H:%M:%S") if at else None


def number(value: float | None) -> str | None:
    return f"{value:.3f}" if value is not None else None
