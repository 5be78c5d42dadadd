"""The environment of every workload."""

from typing import Any

from fleetwide.bakery.defaults import default_env
from tests.unit.bakes import resolved


def env_of(kind: str = "tarball", **env: str) -> dict[str, str]:
    artifact: dict[str, Any] = {"type": kind, "sha256": "a" * 64, "filename": f"x.{kind}"}
    return default_env(resolved(artifacts=[artifact], env=env))


def test_time_zone_and_language_are_the_same_everywhere() -> None:
    assert env_of() == {"LANG": "C.UTF-8", "TZ": "UTC"}


def test_the_spec_goes_first() -> None:
    assert env_of(TZ="Europe/Berlin", A="1") == {"A": "1", "LANG": "C.UTF-8", "TZ": "Europe/Berlin"}


def test_python_does_not_hold_its_output_back() -> None:
    assert env_of("wheel")["PYTHONUNBUFFERED"] == "1"
    assert env_of("sdist", PYTHONUNBUFFERED="")["PYTHONUNBUFFERED"] == ""


def test_the_order_does_not_depend_on_that_of_the_request() -> None:
    assert list(env_of(B="1", A="2")) == list(env_of(A="2", B="1")) == ["A", "B", "LANG", "TZ"]
