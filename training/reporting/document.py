"""A page made of what was measured: sections with text, tables and pictures, as Markdown and as HTML."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment
from markupsafe import Markup, escape

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ document.title }}</title>
<style>
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: 1rem 0; display: block; overflow-x: auto; }
th, td { border-bottom: 1px solid #8886; padding: .3rem .6rem; text-align: left; vertical-align: top; }
th:first-child, td:first-child { min-width: 7rem; }
th:not(:first-child), td:not(:first-child) { text-align: right; font-variant-numeric: tabular-nums; }
span.interval { white-space: nowrap; }
img { max-width: 100%; height: auto; background: #fff; }
</style>
</head>
<body>
<h1>{{ document.title }}</h1>
{% for section in document.sections %}
<section>
<h2>{{ section.title }}</h2>
{% for text in section.texts %}<p>{{ text }}</p>
{% endfor %}
{% if section.points %}<ul>
{% for point in section.points %}<li>{{ point }}</li>
{% endfor %}</ul>
{% endif %}
{% for table in section.tables %}<table>
<thead><tr>{% for name in table.columns %}<th scope="col">{{ name }}</th>{% endfor %}</tr></thead>
<tbody>
{% for row in table.rows %}<tr>{% for cell in row %}<td>{{ cell if loop.first else cell | kept_together }}</td>{% endfor %}</tr>
{% endfor %}</tbody>
</table>
{% endfor %}
{% for picture in section.pictures %}<p><img alt="{{ picture.says }}" src="{{ sources[picture.path] }}"></p>
{% endfor %}
</section>
{% endfor %}
</body>
</html>
"""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells that are already text; the first column names, the others count."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Picture:
    """A PNG, and what it shows in words."""

    path: Path
    says: str


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and what stands under it; `points` is a list."""

    title: str
    texts: tuple[str, ...] = ()
    points: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    pictures: tuple[Picture, ...] = ()


@dataclass(frozen=True, slots=True)
class Document:
    """A title and its sections."""

    title: str
    sections: tuple[Section, ...]

    def markdown(self) -> str:
        """The page as Markdown; pictures are linked by their file names."""
        lines = [f"# {_plain(self.title)}"]
        for section in self.sections:
            lines += ["", f"## {_plain(section.title)}"]
            for text in section.texts:
                lines += ["", _plain(text)]
            if section.points:
                lines += ["", *(f"- {_plain(point)}" for point in section.points)]
            for table in section.tables:
                lines += ["", *_markdown_table(table)]
            for picture in section.pictures:
                lines += ["", f"![{_plain(picture.says)}]({picture.path.name})"]
        return "\n".join(lines) + "\n"

    def html(self) -> str:
        """The page as one HTML file, pictures within."""
        sources = {
            picture.path: "data:image/png;base64," + base64.b64encode(picture.path.read_bytes()).decode()
            for section in self.sections
            for picture in section.pictures
        }
        environment = Environment(autoescape=True, trim_blocks=True)
        environment.filters["kept_together"] = _kept_together
        return environment.from_string(_PAGE).render(document=self, sources=sources)


def figure(value: float | None, digits: int = 4) -> str:
    """A figure as text, a dash where it is not defined."""
    return "–" if value is None else f"{value:.{digits}f}"


def interval(pair: Sequence[float] | None, digits: int = 4) -> str:
    """An interval as text."""
    return "–" if pair is None else f"{pair[0]:.{digits}f} to {pair[1]:.{digits}f}"


def _kept_together(cell: str) -> Markup:
    """A cell whose lines break before and after an interval, never within."""
    return Markup(re.sub(r"\S+ to \S+", r'<span class="interval">\g<0></span>', str(escape(cell))))


def _markdown_table(table: Table) -> list[str]:
    head = "| " + " | ".join(_plain(name) for name in table.columns) + " |"
    rule = "|" + "|".join("---" if place == 0 else "---:" for place in range(len(table.columns))) + "|"
    return [head, rule, *("| " + " | ".join(_plain(cell) for cell in row) + " |" for row in table.rows)]


def _plain(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    one = " ".join(text.split())
    for sign in "\\`*_[]<>|#":
        one = one.replace(sign, f"\\{sign}")
    return one
