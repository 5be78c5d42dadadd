"""Commands are imported when they are run; what is said of them before is what they say."""

import subprocess
import sys

import pytest

from fleetwide.cli import main, registry
from fleetwide.cli.later import load
from tests.cli.conftest import Command

ALL = {**main.COMMANDS, **registry.COMMANDS}
HEAVY = ("fleetwide.models.base", "fleetwide.cli.output", "temporalio", "sqlalchemy", "boto3")


@pytest.mark.parametrize(("target", "help_text"), ALL.values(), ids=ALL)
def test_the_help_is_that_of_the_command(target: str, help_text: str) -> None:
    assert load(target).help.split("\n\n")[0] == help_text


def test_help_of_a_noun_and_of_its_command(fleetwide: Command) -> None:
    assert "Usage: fleetwide registry gc [OPTIONS] COMMAND" in fleetwide("registry", "gc").err
    ran = fleetwide("registry", "tags", "--help")
    assert ran.code == 0
    assert "Usage: fleetwide registry tags [OPTIONS]" in ran.out


def test_a_mistyped_command_of_a_noun_is_suggested(fleetwide: Command) -> None:
    ran = fleetwide("registry", "tgs")
    assert ran.code == 2
    assert "tags" in ran.err


@pytest.mark.parametrize("words", [["--help"], ["registry", "--help"], ["version"]])
def test_help_imports_no_command(words: list[str]) -> None:
    assert not imported(words) & {*HEAVY, "fleetwide.cli.processes", "fleetwide.cli.registry_gc"}


def test_a_command_imports_no_other() -> None:
    """Servers start by the command line: what they do not need would cost each of them."""
    modules = imported(["registry", "serve", "--help"])
    assert "fleetwide.cli.registry_server" in modules
    assert not modules & {*HEAVY, "fleetwide.cli.registry_gc", "fleetwide.cli.processes"}


def imported(words: list[str]) -> set[str]:
    """The modules of a process that ran one command line."""
    program = (
        "import sys; from fleetwide.cli import main; code = main.run(sys.argv[1:]);"
        "print(*sys.modules, file=sys.stderr); sys.exit(code)"
    )
    command = [sys.executable, "-c", program, *words]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    return set(ran.stderr.split())
