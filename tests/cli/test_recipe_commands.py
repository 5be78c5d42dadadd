"""``fleetwide recipe``: stored, listed, shown, applied to nothing that is wrong."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fleetwide.cli import main
from fleetwide.client import Client
from tests.bare_api import bare_api

EXAMPLE = Path(__file__).parents[2] / "examples/bakery/python-service.yaml"
Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def cli(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Cli]:
    with bare_api(tmp_path) as http:

        @contextmanager
        def in_process() -> Iterator[Client]:
            yield Client("http://testserver", http=http)

        monkeypatch.setattr("fleetwide.cli.recipe.client", in_process)

        def run(*arguments: str) -> tuple[int, str, str]:
            code = main.run(["recipe", *arguments])
            said = capsys.readouterr()
            return code, said.out, said.err

        yield run


def test_the_example_is_stored_once_and_shown(cli: Cli) -> None:
    assert cli("apply", "-f", str(EXAMPLE), "-o", "name") == (0, "python-service:1\n", "")
    assert cli("apply", "-f", str(EXAMPLE), "-o", "name")[1] == "python-service:1\n"
    code, out, _ = cli("show", "python-service")
    lines = [line.split() for line in out.splitlines()]
    assert code == 0
    assert ["recipe:", "python-service:1"] in lines
    assert ["entry", "point:", "/usr/bin/python3", "-m", "${module}"] in lines
    assert ["setuid", "bits:", "taken", "off"] in lines
    assert ["port", "integer", "'8080'", "-", "-"] in lines
    assert ["module", "string", "needed", "-", "what", '"python3', '-m"', "runs"] in lines
    assert json.loads(cli("show", "python-service:1", "-o", "json")[1])["version"] == 1


def test_versions_are_listed(cli: Cli, tmp_path: Path) -> None:
    spec = tmp_path / "recipe.json"
    for owner in ("ana", "ben"):
        spec.write_text(json.dumps({"name": "small", "owner": owner}))
        assert cli("apply", "-f", str(spec))[0] == 0
    cli("apply", "-f", str(EXAMPLE))
    assert cli("list", "-o", "name")[1] == "python-service:1\nsmall:2\n"
    assert cli("list", "--name", "small", "-o", "name")[1] == "small:2\nsmall:1\n"
    out = cli("list")[1].splitlines()
    assert out[0].split() == ["NAME", "VERSION", "PARAMETERS", "OWNER", "CREATED"]
    assert out[2].split()[:4] == ["small", "2", "-", "ben"]
    assert cli("list", "--limit", "1")[2] == "there is more: --cursor python-service\n"


def test_what_is_wrong_or_missing_is_told(cli: Cli, tmp_path: Path) -> None:
    spec = tmp_path / "recipe.yaml"
    spec.write_text('{name: small, command: ["${port}"]}')
    code, _, err = cli("apply", "-f", str(spec))
    assert code == 3
    assert "command[0]: has no parameter for ${port}; the recipe has no parameters" in err
    code, _, err = cli("show", "small")
    assert (code, err) == (
        4,
        "error: there is no recipe small\nhint: fleetwide recipe list\n",
    )
