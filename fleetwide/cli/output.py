"""All that the command line prints. The only importer of rich.

Data goes to stdout, everything else to stderr. On a terminal tables have colour and progress
moves; elsewhere there are plain lines, one per change.
"""

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from functools import cache
from io import StringIO
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import yaml
from pydantic import BaseModel
from rich.console import Console
from rich.status import Status
from rich.table import Table
from rich.text import Text

from fleetwide.errors import FleetwideError

if TYPE_CHECKING:
    from fleetwide.models.documents import Page

Item = TypeVar("Item")
PLAIN_WIDTH = 10_000
_STYLES = {
    "Finished": "green",
    "succeeded": "green",
    "stable": "green",
    "Active": "green",
    "failed": "red",
    "Disconnected": "red",
    "running": "cyan",
    "Started": "cyan",
    "retrying": "yellow",
}


class Format(StrEnum):
    """How data is printed."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"
    NAME = "name"


@dataclass(frozen=True)
class Column(Generic[Item]):
    """One column of a table; ``wide`` columns only show with ``-o wide``."""

    title: str
    cell: Callable[[Item], object]
    wide: bool = False


@dataclass(frozen=True)
class View(Generic[Item]):
    """How items of a kind look: their columns, and the name to type for one of them."""

    columns: Sequence[Column[Item]]
    name: Callable[[Item], str]


@dataclass(frozen=True)
class Section:
    """A table or some lines below a record."""

    title: str
    lines: Sequence[str]


@dataclass(frozen=True)
class Card:
    """How one document looks: named values, then sections."""

    name: str
    rows: Sequence[tuple[str, object]]
    sections: Sequence[Section] = field(default_factory=tuple)


def listing(page: "Page[Item]", view: View[Item], style: Format) -> None:
    """Print a page of items; JSON and YAML are the API's own document."""
    if style is Format.NAME:
        for item in page.items:
            data(view.name(item))
    elif style in (Format.JSON, Format.YAML):
        _document(page, style)
    elif not page.items:
        note("nothing found")
    else:
        columns = [column for column in view.columns if style is Format.WIDE or not column.wide]
        _print(_table(page.items, columns))
        if page.next:
            note(f"there is more: --cursor {page.next}")


def record(document: BaseModel, card: Card, style: Format) -> None:
    """Print one document; JSON and YAML are the API's own."""
    if style is Format.NAME:
        data(card.name)
    elif style in (Format.JSON, Format.YAML):
        _document(document, style)
    else:
        _print(_card(card))


def table_lines(items: Sequence[Item], columns: Sequence[Column[Item]]) -> list[str]:
    """A table as plain lines, for a section of a card."""
    return _plain(_table(items, columns)).splitlines()


def data(text: str, *, end: str = "\n") -> None:
    """Print plain text to stdout at once."""
    sys.stdout.write(text + end)
    sys.stdout.flush()


def note(text: str) -> None:
    """Tell the person something that is no data."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def error(fault: FleetwideError) -> None:
    """One message, each wrong field on its own line, the hint apart."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    first = "the input is not valid" if len(fault.fields) > 1 else fault.message
    console.print(Text("error: ", style="bold red") + Text(first))
    if len(fault.fields) > 1:
        for one in fault.fields:
            console.print(Text(f"  {one}"))
    if fault.hint:
        console.print(Text("hint: ", style="bold") + Text(fault.hint))


def failure(message: str, hint: str | None = None) -> None:
    """Say on stderr how the thing itself failed."""
    error(FleetwideError(message, hint=hint))


class Step:
    """A piece of work that takes a while; ``update`` says how it stands."""

    def __init__(self, title: str, status: Status | None) -> None:
        self._title = title
        self._status = status
        self._said = ""

    def update(self, text: str) -> None:
        line = f"{self._title}: {text}"
        if line == self._said:
            return
        self._said = line
        if self._status is not None:
            self._status.update(Text(line))
        else:
            note(line)


@contextmanager
def step(title: str) -> Iterator[Step]:
    """Show that something is going on, on stderr, until the block ends."""
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield Step(title, None)
        return
    with console.status(Text(title)) as status:
        yield Step(title, status)


def moment(value: datetime | None) -> str:
    """A time as people read it, in UTC."""
    return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S") if value else "-"


def size(count: int) -> str:
    """Bytes as people read them."""
    amount = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"


def short_digest(digest: str | None) -> str:
    """``sha256:`` and the first twelve digits, which is enough to tell images apart."""
    return digest[:19] if digest else "-"


def values(document: BaseModel, style: Format) -> None:
    """Print a document that has no table form of its own."""
    _document(document, Format.JSON if style is Format.JSON else Format.YAML)


def _document(document: BaseModel, style: Format) -> None:
    content = document.model_dump(mode="json")
    if style is Format.JSON:
        data(json.dumps(content, indent=2, ensure_ascii=False))
    else:
        data(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), end="")


def _table(items: Sequence[Item], columns: Sequence[Column[Item]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column.title, no_wrap=not _terminal())
    for item in items:
        table.add_row(*(_cell(column.cell(item)) for column in columns))
    return table


def _card(card: Card) -> Table:
    grid = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    grid.add_column(style="bold")
    grid.add_column(overflow="fold")
    for title, value in card.rows:
        if value not in (None, "", [], {}):
            grid.add_row(Text(f"{title}:"), _cell(value))
    whole = Table.grid()
    whole.add_row(grid)
    for section in card.sections:
        if section.lines:
            whole.add_row(Text(f"\n{section.title}", style="bold"))
            for line in section.lines:
                whole.add_row(Text(f"  {line}"))
    return whole


def _cell(value: Any) -> Text:
    if isinstance(value, datetime):
        return Text(moment(value))
    text = "-" if value is None or value == "" else str(value)
    return Text(text, style=_STYLES.get(text, ""))


@cache
def _no_colour() -> bool:
    return bool(os.environ.get("NO_COLOR"))


def _terminal() -> bool:
    return sys.stdout.isatty()


def _print(table: Table) -> None:
    if _terminal():
        Console(highlight=False, no_color=_no_colour()).print(table)
    else:
        data(_plain(table))


def _plain(table: Table) -> str:
    """The table without colour, as wide as it wants, without blanks at the ends of lines."""
    buffer = StringIO()
    Console(file=buffer, width=PLAIN_WIDTH, highlight=False, no_color=True).print(table)
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines())
