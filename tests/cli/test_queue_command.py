"""``fleetwide queue`` and ``capacity-request`` against a whole control plane."""

import json
from pathlib import Path

from tests.api.harness import wait_until
from tests.cli.conftest import Command


def test_queues_are_made_changed_together_held_and_removed(
    fleetwide: Command, tmp_path: Path
) -> None:
    made = fleetwide(
        "queue", "set", "shop", "--guarantee", "cpu=2", "--priority-class", "low=10", "--reason", "a test"
    )  # fmt: skip
    assert made.code == 0, made.err
    assert "low (10)" in made.out
    assert fleetwide("queue", "set", "shop/night", "--reason", "x").code == 0
    changes = tmp_path / "changes.json"
    night = {"path": "shop/night", "spec": {"guarantee": {"cpu": 3}}}
    changes.write_text(json.dumps({"changes": [night], "reason": "more"}))
    refused = fleetwide("queue", "plan", "-f", str(changes))
    assert refused.code != 0
    assert "guaranteed 3 CPU together, above the 2 CPU of shop itself" in refused.err
    night["spec"] = {"guarantee": {"cpu": 1}}
    changes.write_text(json.dumps({"changes": [night], "reason": "more"}))
    planned = fleetwide("queue", "plan", "-f", str(changes), "-o", "json")
    assert "shop/night" in [each["path"] for each in json.loads(planned.out)["queues"]]
    assert fleetwide("queue", "apply", "-f", str(changes)).code == 0
    assert "\n    night" in fleetwide("queue", "tree", "shop").out
    held = fleetwide("queue", "hold", "shop", "--drain", "--reason", "it moves", "-o", "json")
    assert json.loads(held.out)["spec"]["hold"] == "hold-and-drain"
    told = json.loads(fleetwide("queue", "show", "shop/night", "-o", "json").out)
    assert (told["held_by"], told["spec"]["guarantee"]["cpu"]) == ("shop", 1)
    assert fleetwide("queue", "release", "shop", "--reason", "moved").code == 0
    assert "2 queues" not in fleetwide("queue", "delete", "shop", "--reason", "x").err
    gone = fleetwide("queue", "delete", "shop/night", "--cancel-jobs", "--reason", "x")
    assert gone.code == 0, gone.err
    history = fleetwide("queue", "history", "shop/night", "-o", "json").out
    kinds = [each["kind"] for each in json.loads(history)["items"]]
    assert kinds == ["removed", "changed", "changed", "created"]


def test_a_queue_goes_when_its_last_job_was_cancelled(fleetwide: Command) -> None:
    assert fleetwide("queue", "set", "old", "--reason", "x").code == 0
    job = fleetwide(
        "batch", "submit", "--image", "apps/hello:1.0.0", "--queue", "old", "--no-wait", "-o",
        "name", "--", "sleep",
    )  # fmt: skip
    assert job.code == 0, job.err
    wait_until(lambda: '"jobs": 1' in fleetwide("queue", "show", "old", "-o", "json").out, "booked")
    refused = fleetwide("queue", "delete", "old", "--reason", "x")
    assert "1 jobs that have not ended" in refused.err
    gone = fleetwide("queue", "delete", "old", "--cancel-jobs", "--reason", "it is old")
    assert gone.code == 0, gone.err
    assert "there is no queue old" in fleetwide("queue", "show", "old").err
    shown = json.loads(fleetwide("batch", "show", job.out.strip(), "-o", "json").out)
    assert shown["state"] == "cancelled"


def test_a_request_is_decided_by_somebody_else_and_withdrawn(fleetwide: Command) -> None:
    assert fleetwide("queue", "set", "team", "--reason", "x").code == 0
    asked = fleetwide(
        "capacity-request", "ask", "team", "--guarantee", "cpu=1", "--until",
        "2199-01-01T00:00:00Z", "--by", "ana", "--reason", "a launch", "-o", "json",
    )  # fmt: skip
    assert asked.code == 0, asked.err
    found = json.loads(asked.out)
    assert (found["state"], found["waiting"]["code"]) == ("Pending", "WaitingForApproval")
    own = fleetwide("capacity-request", "approve", found["id"], "--by", "ana", "--reason", "mine")
    assert "somebody else has to decide" in own.err
    done = fleetwide("capacity-request", "approve", found["id"], "--by", "olga", "--reason", "ok")
    assert done.code == 0, done.err
    assert '"cpu": 1' in fleetwide("queue", "show", "team", "-o", "json").out
    listed = fleetwide("capacity-request", "list", "--state", "Applied", "-o", "name").out.split()
    assert listed == [found["id"]]
    back = fleetwide("capacity-request", "withdraw", found["id"], "--by", "ana", "--reason", "over")
    assert back.code == 0, back.err
    assert json.loads(fleetwide("queue", "show", "team", "-o", "json").out)["revision"] == 3
