"""`adline status`: how the line is; while it is stopped, what it has recorded."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import typer

from cli.option import ConfigOption, JsonOption
from cli.output import print_json
from orchestrator.archive import stopped_status
from orchestrator.configuration import Loaded, load_settings
from orchestrator.running import running_line


def status(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show the running line, or what is on record of a stopped one."""
    shown = current_status(load_settings(config, os.environ))
    if as_json:
        print_json(shown)
    else:
        typer.echo("\n".join(in_words(shown)))


def current_status(loaded: Loaded) -> dict[str, Any]:
    running = running_line(loaded)
    return {**running.status(), "url": running.url} if running else stopped_status(loaded)


def in_words(shown: dict[str, Any]) -> Iterator[str]:
    state = shown["state"]
    if state == "never started":
        yield f"line {shown['line']} was never started: {shown['home']} holds no records; `adline start` starts it"
    elif state == "stopped":
        yield from stopped_in_words(shown)
    else:
        yield from running_in_words(shown)


def running_in_words(shown: dict[str, Any]) -> Iterator[str]:
    latency = shown["latency_ms"]
    yield f"line {shown['line']}: {shown['state']}, process {shown['pid']}, {shown['url']}"
    yield f"{shown['parts']} parts in {shown['uptime_seconds']:.0f} s: {counts(shown['verdicts'])}"
    yield f"{shown['parts_per_minute']:g} parts/min, latency p50 {ms(latency['p50'])}, p99 {ms(latency['p99'])}"
    if queue := shown.get("queue"):
        yield queue_words(queue)
    if dead := shown["dead_letters"]:
        yield dead_words(dead)
    for worker in shown["workers"]:
        yield with_detail(f"{worker['name']}: {worker['state']}", worker["detail"])
    for name, found in shown["stations"].items():
        if not found["ok"]:
            yield f"{name}: {found['detail']}"
    for service in shown["services"]:
        yield f"{service['name']}: {service['text']}"
    disk = shown["disk"]
    yield f"disk: {disk['free_bytes'] >> 20} MiB free at {disk['path']}"


def queue_words(queue: Mapping[str, Any]) -> str:
    return f"queue: {queue['open']} open, {queue['leased']} being decided, {queue['overdue']} overdue"


def dead_words(count: int) -> str:
    return f"dead letters: {count} set aside; `adline dlq list` tells why, `adline dlq replay` brings them back"


def stopped_in_words(shown: dict[str, Any]) -> Iterator[str]:
    yield f"line {shown['line']}: stopped; records in {shown['home']}"
    if run := shown["last_run"]:
        latency = run["latency_ms"]
        yield f"last run {run['id']} from {day(run['started_at'])} on {run['host']}, adline {run['code_version']}"
        yield f"  {run['parts']} parts: {counts(run['verdicts'])}; p50 {ms(latency['p50'])}, p99 {ms(latency['p99'])}"
    yield f"all runs: {sum(shown['verdicts'].values())} parts: {counts(shown['verdicts'])}"
    yield f"open reviews: {shown['open_reviews']['count']}"
    for alarm in shown["drift_alarms"]:
        yield f"drift alarm {alarm['alarm']} at {alarm['station']}/{alarm['camera']}: {alarm['sentence']}"
    for model in shown["models"]:
        yield f"{model['recipe']}: {model['alias']} is {model['model_version']} since {day(model['deployed_at'])}"


def counts(verdicts: dict[str, int]) -> str:
    return ", ".join(f"{count} {verdict}" for verdict, count in verdicts.items())


def day(time: datetime) -> str:
    return time.isoformat(sep=" ", timespec="seconds")


def ms(value: float | None) -> str:
    return "-" if value is None else f"{value:g} ms"


def with_detail(text: str, detail: str) -> str:
    return f"{text}: {detail}" if detail else text
