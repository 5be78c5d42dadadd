"""``fleetwide registry account``: what people type and what they see."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path

import pytest

from fleetwide.cli import main
from fleetwide.client import Client
from fleetwide.registry.accounts import is_secret
from tests.bare_api import bare_api

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def cli(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Cli]:
    with bare_api(tmp_path) as http:

        @contextmanager
        def in_process() -> Iterator[Client]:
            yield Client("http://testserver", http=http)

        monkeypatch.setattr("fleetwide.cli.registry_account.client", in_process)

        def run(*arguments: str) -> tuple[int, str, str]:
            code = main.run(["registry", "account", *arguments])
            said = capsys.readouterr()
            return code, said.out, said.err

        yield run


def test_the_secret_alone_is_on_standard_output(cli: Cli) -> None:
    code, out, err = cli("create", "ci", "--grant", "apps/*=pull,push", "--grant", "*=pull")
    assert code == 0
    assert len(out.strip()) >= 43
    assert out.strip() not in err
    assert "apps/*=pull,push *=pull" in err
    shown = cli("show", "ci", "-o", "json")[1]
    assert json.loads(shown)["grants"][0] == {"repositories": "apps/*", "actions": ["pull", "push"]}
    assert out.strip() not in shown


def test_accounts_are_listed_with_their_state(cli: Cli) -> None:
    cli("create", "ci", "--grant", "*=*", "--days", "30")
    cli("create", "host/h1")
    cli("disable", "ci")
    rows = [line.split() for line in cli("list")[1].splitlines()]
    assert ["ci", "robot", "disabled", "*=*"] in [row[:4] for row in rows]
    assert ["host/h1", "host", "active"] in [row[:3] for row in rows]
    cli("enable", "ci")
    assert ["state:", "active"] in [line.split() for line in cli("show", "ci")[1].splitlines()]


def test_an_account_is_changed_and_removed(cli: Cli) -> None:
    first = cli("create", "ci")[1]
    assert cli("rotate", "ci")[1] not in ("", first)
    assert "base/*=pull" in cli("grant", "ci", "--grant", "base/*=pull")[1]
    assert cli("delete", "ci") == (0, "", "deleted ci\n")
    code, _, err = cli("show", "ci")
    assert code != 0
    assert "there is no registry account ci" in err


@pytest.mark.parametrize("text", ["apps", "apps/*=", "apps/*=read", "=pull", "a**=pull"])
def test_a_wrong_grant_is_told(cli: Cli, text: str) -> None:
    code, _, err = cli("create", "ci", "--grant", text)
    assert code != 0
    assert "REPOSITORIES=ACTIONS" in err


def test_a_hash_is_made_of_standard_input(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", StringIO("a secret\n"))
    assert is_secret("a secret", cli("hash")[1].strip())
    monkeypatch.setattr("sys.stdin", StringIO("\n"))
    assert cli("hash")[0] != 0
