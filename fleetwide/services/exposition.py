"""Prometheus' text format, as far as a few series are looked for; what is sent is not trusted.

Lines of other series are not looked at. Nothing of the text but the names that were asked for and
numbers gets into a message.
"""

import math
import re
from collections.abc import Iterator, Sequence

from fleetwide.models.metrics_endpoint import EndpointMetric

MAX_LINE = 8192
MAX_SERIES = 1000
"""That fit one metric."""
Labels = tuple[tuple[str, str], ...]
Series = dict[Labels, float]
_LABEL = re.compile(r'\s*([A-Za-z_][A-Za-z0-9_]*)\s*=\s*"((?:[^"\\]|\\.)*)"\s*(,|\})')
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?inf|nan", re.IGNORECASE)
_ESCAPE = re.compile(r"\\(.)")
_ESCAPES = {"n": "\n"}


class Unreadable(ValueError):
    """Why a metric has no value this time; the message is for people."""


def lines_of(body: bytes) -> list[str]:
    """Raises ``Unreadable`` where it is no text."""
    try:
        return body.decode().split("\n")
    except UnicodeDecodeError as error:
        raise Unreadable("the answer is no UTF-8") from error


def series_of(lines: Sequence[str], metric: EndpointMetric) -> Series:
    """The value of each series that fits; at least one.

    Raises ``Unreadable``: there is none, there are too many, one is there twice or is no number
    from 0 on, a line is no line of the format.
    """
    found: Series = {}
    for number, rest in _lines_about(lines, metric.series):
        where = f"line {number}"
        if len(rest) > MAX_LINE:
            raise Unreadable(f"{where} has more than {MAX_LINE} characters")
        labels, value = _labels(rest, where)
        if not metric.labels.items() <= dict(labels).items():
            continue
        if labels in found:
            raise Unreadable(f"{where}: a series of {metric.series} is there twice")
        if len(found) == MAX_SERIES:
            raise Unreadable(f"more than {MAX_SERIES} series of {metric.series} fit")
        found[labels] = _number(value, metric.series, where)
    if not found:
        which = " with these labels" if metric.labels else ""
        raise Unreadable(f"there is no {metric.series}{which}")
    return found


def _lines_about(lines: Sequence[str], series: str) -> Iterator[tuple[int, str]]:
    """What follows the name, with the number of the line."""
    for number, line in enumerate(lines, start=1):
        if line.startswith(series) and line[len(series) : len(series) + 1] in ("{", " ", "\t"):
            yield number, line[len(series) :].strip()


def _labels(rest: str, where: str) -> tuple[Labels, str]:
    """The labels in order of their names, and what follows them."""
    if not rest.startswith("{"):
        return (), rest
    labels: dict[str, str] = {}
    place, last = 1, ","
    while last == ",":
        if rest[place:].lstrip().startswith("}"):
            place = rest.index("}", place) + 1
            break
        pair = _LABEL.match(rest, place)
        if pair is None or pair[1] in labels:
            raise Unreadable(f"{where} is no line of the text format")
        labels[pair[1]] = _ESCAPE.sub(lambda one: _ESCAPES.get(one[1], one[1]), pair[2])
        place, last = pair.end(), pair[3]
    return tuple(sorted(labels.items())), rest[place:]


def _number(rest: str, series: str, where: str) -> float:
    """The value; what follows it, a moment or an exemplar, is of no interest."""
    words = rest.split(maxsplit=1)
    if not words or _NUMBER.fullmatch(words[0]) is None:
        raise Unreadable(f"{where}: the value of {series} is no number")
    value = float(words[0])
    if not math.isfinite(value) or value < 0:
        raise Unreadable(f"{where}: {series} is {value:g}; it must be a number from 0 on")
    return value
