"""Ports on the command line, as the spec has them."""

from typing import Any

import pytest
import typer

from fleetwide.cli.resource_flags import resource_flags
from fleetwide.models.resources import Resources


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http", {}),
        ("http:8080", {"to": 8080}),
        ("http=9100", {"static": 9100}),
        ("http=9100:80/udp", {"static": 9100, "to": 80, "protocol": "udp"}),
    ],
)
def test_a_port_is_read(text: str, expected: dict[str, Any]) -> None:
    read = Resources.model_validate(resource_flags("20GB", 5, 1, [text]))
    assert read.ports["http"].model_dump(exclude_unset=True) == expected
    assert (read.disk_bytes, read.network, read.gpus) == (20 * 1000**3, 5, 1)


def test_what_was_not_given_stays_away() -> None:
    assert resource_flags(None, None, None, None) == {}


def test_a_port_that_is_none_is_told_with_the_shapes_that_there_are() -> None:
    with pytest.raises(typer.BadParameter, match="NAME:PORT-INSIDE"):
        resource_flags(None, None, None, ["http:x"])
