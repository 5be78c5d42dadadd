"""``fleetwide bake lint`` and ``bake rules``: they need no platform."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from fleetwide.cli import main
from fleetwide.models.policy import Rule

BAKE: dict[str, Any] = {
    "name": "hello",
    "version": "1.0.0",
    "base": "baseos:stable",
    "artifacts": [{"type": "tarball", "sha256": "a" * 64, "filename": "hello.tar.gz"}],
    "command": ["/opt/hello/run"],
    "owner": "ana",
    "build": {"commit": "abc"},
}


class Cli:
    """The command line in this process."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self._capsys = capsys

    def file(self, filename: str, /, **content: Any) -> str:
        path = self.folder / filename
        path.write_text(yaml.safe_dump(content))
        return str(path)

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        code = main.run(["bake", *arguments])
        said = self._capsys.readouterr()
        return code, said.out, said.err


@pytest.fixture
def cli(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(tmp_path, capsys)


def test_a_good_bake_ends_with_0(cli: Cli) -> None:
    code, out, err = cli("lint", "-f", cli.file("bake.yaml", **BAKE))
    assert (code, out, err) == (0, "", "nothing found\n")


def test_warnings_are_told_with_their_hints_and_end_with_0(cli: Cli) -> None:
    code, out, err = cli("lint", "-f", cli.file("bake.yaml", **{**BAKE, "ports": [80, 81]}))
    assert code == 0
    assert [line.split()[:3] for line in out.splitlines()] == [
        ["SEVERITY", "RULE", "WHERE"],
        ["warn", "no_healthcheck", "healthcheck"],
        ["warn", "privileged_port", "ports"],
        ["warn", "privileged_port", "ports"],
    ]
    assert err.splitlines() == [
        "hint: no_healthcheck: healthcheck: {command: [/opt/app/bin/check]}",
        "hint: privileged_port: listen on a port from 1024 upwards",
    ]


def test_what_would_be_refused_ends_with_1(cli: Cli) -> None:
    secret = "ghp_" + "a" * 36
    spec = cli.file("bake.yaml", **{**BAKE, "env": {"GH": secret}})
    code, out, err = cli("lint", "-f", spec)
    assert (code, out.splitlines()[1].split()) == (
        1,
        ["refuse", "secret", "env.GH", "holds", "a", "GitHub", "token"],
    )
    assert secret not in out + err
    code, out, _ = cli("lint", "-f", spec, "-o", "json")
    report = json.loads(out)
    assert (code, report["refused"]) == (1, True)
    assert report["findings"][0]["where"] == "env.GH"
    assert cli("lint", "-f", spec, "-o", "name")[:2] == (1, "secret:env.GH\n")


def test_the_policy_decides(cli: Cli) -> None:
    spec = cli.file("bake.yaml", **{**BAKE, "user": "root"})
    assert cli("lint", "-f", spec)[0] == 0
    strict = cli.file("policy.yaml", rules={"root_user": "refuse"}, required=["cost-centre"])
    code, out, _ = cli("lint", "-f", spec, "--policy", strict)
    assert code == 1
    assert "labels.cost-centre" in out
    wrong = cli.file("policy.yaml", rules={"root": "refuse"})
    code, _, err = cli("lint", "-f", spec, "--policy", wrong)
    assert code == 3
    assert (
        err
        == "error: rules.root: unknown key; did you mean root_user?\nhint: fleetwide bake rules\n"
    )


def test_files_are_looked_at_with_or_without_a_request(cli: Cli) -> None:
    folder = cli.folder / "hello"
    folder.mkdir()
    (folder / "id_rsa").write_text("-----BEGIN PRIVATE KEY-----\n" + "A" * 40)
    code, out, err = cli("lint", str(folder), "-o", "json")
    places = {one["where"]: one["rule"] for one in json.loads(out)["findings"]}
    assert (code, places["/opt/app/id_rsa:1"]) == (1, "secret"), err
    assert {"owner", "build.commit", "entrypoint"} <= places.keys()
    code, out, err = cli("lint", "-f", cli.file("bake.yaml", **BAKE), str(folder))
    assert code == 1
    assert "/opt/hello/id_rsa:1" in out
    assert "/opt/hello/run is not in the image" in out


def test_a_wrong_request_or_artifact_ends_with_3(cli: Cli) -> None:
    assert cli("lint") == (
        3,
        "",
        "error: there is nothing to look at\nhint: fleetwide bake lint -f bake.yaml\n",
    )
    code, _, err = cli("lint", "-f", cli.file("bake.yaml", **BAKE, entrypont=[]))
    assert code == 3
    assert "did you mean entrypoint?" in err
    (cli.folder / "x.tar.gz").write_bytes(b"no tar")
    code, _, err = cli("lint", str(cli.folder / "x.tar.gz"))
    assert code == 3
    assert "x.tar.gz is not a readable .tar" in err


def test_rules_are_listed_by_any_policy(cli: Cli) -> None:
    code, out, _ = cli("rules", "-o", "name")
    assert (code, out.split()) == (0, [rule.value for rule in Rule])
    strict = cli.file("policy.yaml", rules={"root_user": "refuse"})
    _, out, _ = cli("rules", "--policy", strict)
    assert "root_user                refuse  the workload runs as root\n" in out
