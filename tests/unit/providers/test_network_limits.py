"""Limits of a network while links come and go, and programs hang."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from fleetwide.providers import network_limits


def test_a_link_that_goes_while_it_is_looked_at_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a-gone").mkdir()
    (tmp_path / "veth1").mkdir()
    (tmp_path / "veth1" / "ifindex").write_text("7\n")
    monkeypatch.setattr(network_limits, "LINKS", tmp_path)
    assert network_limits._by_index(7) == "veth1"
    assert network_limits._by_index(8) is None


def test_a_program_that_hangs_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(*_: Any, **__: Any) -> None:
        raise subprocess.TimeoutExpired("tc", 10)

    monkeypatch.setattr(subprocess, "run", hang)
    assert network_limits._run(["tc"]) is None
