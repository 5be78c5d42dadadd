"""``fleetwide registry``: what is shown of an index, and what is changed there."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from fleetwide.cli import main, output
from fleetwide.client import Client
from fleetwide.store import registry_pulls
from fleetwide.store.session import Store
from tests.bare_api import bare_api
from tests.registry_index import NOW, image, push, upload

A, B = image("a"), image("a", "b")
Cli = Callable[..., tuple[int, str, str]]
MODULES = ("registry_contents", "registry_quota", "registry_retention", "registry_tags")


@pytest.fixture
def cli(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Cli]:
    policy = tmp_path / "policy.yaml"
    policy.write_text('retention: [{name: old, repositories: ["ci/*"], keep_newest: 1}]')
    monkeypatch.setenv("FLEETWIDE_REGISTRY_POLICY", str(policy))
    with bare_api(tmp_path) as http:

        @contextmanager
        def in_process() -> Iterator[Client]:
            yield Client("http://testserver", http=http)

        for module in MODULES:
            monkeypatch.setattr(f"fleetwide.cli.{module}.client", in_process)
        store = Store.open(f"sqlite:///{tmp_path}/fleetwide.db")
        for name in ("apps/x", "ci/x"):
            upload(store, name, "config", "a", "b")
            push(store, name, A, tags=["1.0", "latest"])
            push(store, name, B, tags=["2.0", "latest"], now=NOW + timedelta(hours=1))
        with store.write() as session:
            registry_pulls.note(session, {(1, B.digest, "deployer"): 7}, NOW)
        store.engine.dispose()

        def run(*arguments: str) -> tuple[int, str, str]:
            code = main.run(["registry", *arguments])
            said = capsys.readouterr()
            return code, said.out, said.err

        yield run


def test_repositories_and_tags(cli: Cli) -> None:
    assert cli("list", "-o", "name") == (0, "apps/x\nci/x\n", "")
    assert cli("search", "ci", "-o", "name")[1] == "ci/x\n"
    assert cli("tags", "apps/x", "--prefix", "2", "-o", "name")[1] == "apps/x:2.0\n"
    wide = cli("tags", "apps/x", "-o", "wide")[1].splitlines()
    assert wide[1].split()[-2:] == ["bakes", "apps/x:1.0"]
    more = cli("tags", "apps/x", "--limit", "1")
    assert "--cursor 1.0" in more[2]


def test_an_image_with_its_layers(cli: Cli) -> None:
    code, out, _ = cli("show", "apps/x:2.0")
    assert code == 0
    assert "2.0, latest" in out
    assert "8 B, 8 B shared with others" in out
    (pulled,) = (line.split() for line in out.splitlines() if "deployer" in line)
    assert pulled[:2] == ["deployer", "7"]
    assert "deployer" not in cli("show", "apps/x:1.0")[1]
    assert json.loads(cli("show", f"apps/x@{B.digest}", "-o", "json")[1])["digest"] == B.digest
    assert cli("show", "apps/x:none")[0] == 4
    assert cli("show", "Apps")[0] == 3


def test_history_undo_and_untag(cli: Cli) -> None:
    latest = "ci/x:latest"
    assert cli("history", latest, "-o", "name")[1].split() == [B.digest, A.digest]
    assert cli("at", latest, "2026-01-02T00:30:00", "-o", "name")[1] == f"ci/x@{A.digest}\n"
    assert cli("undo", latest, "--by", "ana", "-o", "name")[1] == f"ci/x@{A.digest}\n"
    assert cli("untag", latest)[0] == 0
    assert cli("at", latest, "2026-01-02T02:00:00", "-o", "name")[1] == f"ci/x@{B.digest}\n"
    assert cli("undo", latest, "--to", B.digest, "-o", "name")[1] == f"ci/x@{B.digest}\n"
    assert cli("untag", f"ci/x@{B.digest}")[0] == 3
    code, _, said = cli("undo", "apps/x:1.0")
    assert (code, "has meant nothing else" in said) == (5, True)


def test_resolve_answers_each_and_fails_when_one_has_no_digest(cli: Cli) -> None:
    code, out, _ = cli("resolve", "apps/x:1.0", "apps/x:2.0", "-o", "name")
    assert (code, out) == (0, f"apps/x@{A.digest}\napps/x@{B.digest}\n")
    code, out, _ = cli("resolve", "apps/x:1.0", "apps/x:9")
    assert code == 1
    assert "RegistryUnavailable" in out


def test_usage_and_quotas(cli: Cli) -> None:
    code, out, said = cli("usage")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == ["NAME", "apps", "ci"]
    held = output.size(16 + 2 * (len(A.data) + len(B.data)))
    assert f"all repositories hold {held}; 8 B lie in storage" in said
    assert cli("usage", "tests", "--by", "owner", "-o", "name")[1] == "tests\n"
    assert "any amount" in cli("quota", "show", "ci")[1]
    assert "1.0 GiB" in cli("quota", "set", "ci", "1GiB", "--owner", "team")[1]
    assert "any amount" in cli("quota", "set", "ci", "none")[1]
    assert cli("quota", "set", "ci", "lots")[0] == 3
    assert "nobody" in cli("quota", "unset", "ci")[1]


def test_what_the_rules_would_make_of_tags(cli: Cli) -> None:
    code, out, _ = cli("retention", "tags", "ci/x")
    assert code == 0
    lines = {line.split()[0]: line for line in out.splitlines()}
    assert "yes" in lines["1.0"].split()
    assert "newest 1" in lines["latest"]


def test_without_temporal_nothing_is_begun(cli: Cli) -> None:
    assert cli("retention", "run")[0] == 6
    assert cli("delete", "ci/x")[0] == 6
