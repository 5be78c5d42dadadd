"""The command line itself: usage, errors, exit codes. No platform needed."""

import json
from pathlib import Path

import pytest

from fleetwide.cli import main
from fleetwide.cli.bake import _from_name
from fleetwide.cli.config import table
from fleetwide.cli.exits import EXIT_OF
from fleetwide.cli.specs import merge
from fleetwide.errors import ErrorCode
from fleetwide.settings import Settings
from tests.cli.conftest import Command


def test_every_error_has_an_exit_code() -> None:
    assert set(EXIT_OF) == set(ErrorCode)


def test_help_documents_the_exit_codes(fleetwide: Command) -> None:
    ran = fleetwide("--help")
    assert ran.code == 0
    assert "Exit codes: 0 all is well; 1 the thing itself failed" in ran.out


def test_a_mistyped_command_is_suggested(fleetwide: Command) -> None:
    ran = fleetwide("tsk")
    assert ran.code == 2
    assert "task" in ran.err


def test_every_fault_of_a_spec_is_told_at_once(fleetwide: Command) -> None:
    ran = fleetwide("task", "run", "--image", "x", "--cpu", "-1")
    assert (ran.code, ran.out) == (3, "")
    assert ran.err.splitlines()[0] == "error: the input is not valid"
    assert "  container.resources.cpu: must be at least 0.001 (given: -1.0)" in ran.err.splitlines()


def test_a_broken_file_names_its_line(fleetwide: Command, tmp_path: Path) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text("app: hello\ncontainer: [\n")
    ran = fleetwide("task", "run", "-f", str(spec))
    assert ran.code == 3
    assert "spec.yaml is neither YAML nor JSON: line 3" in ran.err
    spec.write_text("- a\n")
    assert "must be one mapping" in fleetwide("task", "run", "-f", str(spec)).err
    missing = fleetwide("task", "run", "-f", str(tmp_path / "none.yaml"))
    assert "cannot be read: No such file or directory" in missing.err


def test_an_api_that_is_away_is_said_to_be_away(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        "fleetwide.client.client.get_settings", lambda: Settings(api_url="http://127.0.0.1:9")
    )
    assert main.run(["task", "list"]) == 6
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: the API at http://127.0.0.1:9 does not answer")
    assert said.err.endswith("hint: fleetwide dev up\n")


def test_settings_show_their_origin_and_hide_secrets(
    monkeypatch: pytest.MonkeyPatch, fleetwide: Command
) -> None:
    monkeypatch.setenv("FLEETWIDE_DATABASE_URL", "postgresql://me:hunter2@host/db")
    rows = {row.variable: row for row in table(Settings())}
    assert rows["FLEETWIDE_DATABASE_URL"].origin == "environment"
    assert "hunter2" not in str(rows)
    assert rows["FLEETWIDE_API_PORT"].value == "8300"
    assert json.loads(fleetwide("config", "show", "-o", "json").out)["items"]


@pytest.mark.parametrize(
    ("filename", "found"),
    [
        ("hello-1.0.0-py3-none-any.whl", {"name": "hello", "version": "1.0.0"}),
        ("hello_web-1.2.0-py3-none-any.whl", {"name": "hello-web", "version": "1.2.0"}),
        ("hello-web_2.1_amd64.deb", {"name": "hello-web", "version": "2.1"}),
        ("hello.tar.gz", {}),
    ],
)
def test_names_come_from_file_names(filename: str, found: dict[str, str]) -> None:
    assert _from_name([Path(filename)]) == found


def test_flags_win_over_the_file_and_what_was_not_given_stays_away() -> None:
    base = {"a": {"x": 1, "y": 2}, "b": [1]}
    assert merge(base, {"a": {"x": 5, "z": None}, "b": [], "c": None}) == {
        "a": {"x": 5, "y": 2},
        "b": [1],
    }
