"""``fleetwide service`` against a whole control plane."""

import json
from pathlib import Path

import yaml

from tests.api.harness import task_spec
from tests.cli.conftest import Command

WHY = ("--reason", "a test", "--by", "ada")


def test_a_service_from_its_start_to_its_end(fleetwide: Command, tmp_path: Path) -> None:
    path = tmp_path / "web.yaml"
    spec = {**task_spec("sleep"), "capacity": {"desired": 1, "max": 5}}
    path.write_text(yaml.safe_dump(spec))
    begun = fleetwide("service", "run", "web", "-f", str(path))
    assert begun.code == 0, begun.err
    fleetwide("service", "scale", "web", "--desired", "2", *WHY)
    shown = json.loads(fleetwide("service", "show", "web", "-o", "json").out)
    assert shown["status"]["capacity"]["desired"] == 2

    path.write_text(yaml.safe_dump({**spec, "owner": "team"}))
    planned = fleetwide("service", "plan", "web", "-f", str(path))
    assert "+ owner: team" in planned.out or "~ owner" in planned.out
    index = planned.out.rsplit("--expected-version ", 1)[1].strip()
    done = fleetwide("service", "deploy", "web", "-f", str(path), "--expected-version", index, *WHY)
    assert done.code == 0, done.err
    late = fleetwide("service", "deploy", "web", "-f", str(path), "--expected-version", index)
    assert "fleetwide service show web" in late.err

    assert "web" in fleetwide("service", "list").out
    assert "1 to 2 copies" in fleetwide("service", "history", "web").out
    assert "a test" in fleetwide("service", "revisions", "web").out
    fleetwide("service", "processes", "web", "--no-increase", *WHY)
    refused = fleetwide("service", "scale", "web", "--desired", "3", *WHY)
    assert "disable_increase_desired" in refused.err
    assert fleetwide("service", "copies", "web").code == 0
    given = ("--owner", "new", "--label", "a=b", *WHY)
    changed = fleetwide("service", "attributes", "web", *given)
    assert changed.code == 0, changed.err
    assert "other owner and labels" in fleetwide("service", "history", "web").out
    stale = fleetwide("service", "scale", "web", "--max", "6", "--expected-version", "1", *WHY)
    assert "somebody changed it meanwhile" in stale.err
    listed = fleetwide("task", "list", "--service", "web", "-o", "name").out.split()
    assert {"web.0.1", "web.1.1"} <= set(listed)
    nowhere = fleetwide("service", "move-task", "web.0.1", "--to", "none", *WHY)
    assert "there is no service none" in nowhere.err
    copy = fleetwide("service", "copies", "web", "-o", "name").out.split()[0]
    killed = fleetwide("task", "kill", copy, "--reason", "it leaks")
    assert "it leaves the load balancers of web" in killed.err
    assert f"{copy} leaves its load balancers" in fleetwide("service", "history", "web").out
    assert fleetwide("service", "delete", "web", *WHY).code == 0
