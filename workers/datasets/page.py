"""A page of HTML that needs nothing but itself: pictures are in it, nothing is fetched."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from html import escape
from io import BytesIO

from matplotlib.figure import Figure

from storage.images import Image, encode

STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:75rem;margin:2rem auto;padding:0 1rem;color:#1a1a1a;background:#fff}
table{border-collapse:collapse}td,th{padding:.15rem .8rem .15rem 0;text-align:left}th{border-bottom:1px solid #999}
td.number{text-align:right;font-variant-numeric:tabular-nums}
.row{display:flex;flex-wrap:wrap;gap:1rem}figure{margin:0;max-width:15rem}figcaption{font-size:13px;word-break:break-all}
.warning{background:#fff3cd;padding:.5rem 1rem}img{max-width:100%}
"""


def page(title: str, *sections: str) -> str:
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{STYLE}</style></head>\n<body><h1>{escape(title)}</h1>\n" + "\n".join(sections) + "\n</body></html>\n"
    )


def section(title: str, *content: str) -> str:
    return f"<h2>{escape(title)}</h2>\n" + "\n".join(content)


def paragraph(text: str) -> str:
    return f"<p>{escape(text)}</p>"


def warning(text: str) -> str:
    return f'<p class="warning">{escape(text)}</p>'


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "\n".join(f"<tr>{''.join(_cell(value) for value in row)}</tr>" for row in rows)
    return f"<table><tr>{head}</tr>\n{body}</table>"


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f'<td class="number">{value:.3f}</td>'
    if isinstance(value, int):
        return f'<td class="number">{value}</td>'
    return f"<td>{escape('-' if value is None else str(value))}</td>"


def row(pictures: Sequence[str]) -> str:
    return f'<div class="row">{"".join(pictures)}</div>'


def picture(image: Image, caption: str) -> str:
    data = b64encode(encode(image, "jpeg", quality=85)).decode()
    tag = f'<img alt="" src="data:image/jpeg;base64,{data}">'
    return f"<figure>{tag}<figcaption>{escape(caption)}</figcaption></figure>"


def plot(figure: Figure) -> str:
    stream = BytesIO()
    figure.savefig(stream, format="png", dpi=110, bbox_inches="tight")
    return f'<img alt="" src="data:image/png;base64,{b64encode(stream.getvalue()).decode()}">'
