from pathlib import Path

import pytest

from fleetwide.errors import InvalidInput
from fleetwide.models.baseos import Architecture
from fleetwide.providers.architectures import check_runs, this_architecture


@pytest.fixture
def foreign() -> Architecture:
    """One that is not this machine's own."""
    return next(one for one in Architecture if one is not this_architecture())


def arch_test(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Have only this program on the path."""
    program = folder / "arch-test"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))


def test_a_machine_runs_its_own_architecture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    own = this_architecture()
    assert own is not None
    check_runs(own)


def test_another_one_is_run_where_it_is_emulated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, foreign: Architecture
) -> None:
    arch_test(tmp_path, monkeypatch, f'[ "$1" = {foreign} ]')
    check_runs(foreign)


@pytest.mark.parametrize("installed", [True, False])
def test_what_cannot_be_run_is_told_with_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, foreign: Architecture, *, installed: bool
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    if installed:
        arch_test(tmp_path, monkeypatch, "exit 1")
    with pytest.raises(InvalidInput, match=f"cannot run programs of {foreign}") as caught:
        check_runs(foreign)
    assert "apt-get install qemu-user-static" in (caught.value.hint or "")
