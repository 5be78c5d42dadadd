"""A pool of real hosts on this machine, by the command line: it comes, takes work and goes."""

import json
from pathlib import Path
from uuid import uuid4

import pytest
import yaml

from fleetwide.models.os_releases import OSRelease
from tests.platforms import Platform, eventually

pytestmark = pytest.mark.integration


def test_waiting_work_brings_a_host_of_its_own_and_it_leaves_nothing(
    platform: Platform, stable: OSRelease, tmp_path: Path
) -> None:
    pool, spec, work = f"p{uuid4().hex[:6]}", tmp_path / "pool.yaml", tmp_path / "task.yaml"
    types = [{"name": "small", "cpu": 1, "memory": "256MiB"}]
    content = {"name": pool, "provider": "local", "max": 1, "types": types}
    spec.write_text(yaml.safe_dump({**content, "labels": {"kind": "extra"}}))
    platform.fleetwide("pool", "create", "-f", str(spec))
    container = {
        "image": f"baseos/baseos@{stable.image_digest}",
        "command": ["sh", "-c", "echo here"],
        "host_labels": {"pool": pool, "kind": "extra"},
        "resources": {"cpu": 1, "memory": "64MiB"},
        "network": "none",
    }
    work.write_text(yaml.safe_dump({"app": "pool-test", "container": container}))
    done = json.loads(platform.fleetwide("task", "run", "-f", str(work), "--wait", "-o", "json"))
    assert done["reason"] == "normal"
    [machine] = machines(platform, pool)
    assert done["host_id"] == machine["machine_id"]
    folder = platform.state / "pools" / pool / machine["machine_id"]
    about = json.loads((folder / "machine.json").read_text())
    platform.fleetwide("pool", "delete", pool, "--reason", "the test is over")
    eventually(lambda: not folder.exists(), 90, "the machine's folder goes")
    assert not Path(f"/sys/class/net/{about['bridge']}").exists()
    assert not Path(about["run"]).exists()
    eventually(lambda: machines(platform, pool)[0]["end"] == "drained", 30, "its end is booked")
    events = platform.fleetwide("events", f"pool/{pool}")
    for told in ("started", "empties", "ended", "pool is deleted"):
        assert told in events


def machines(platform: Platform, pool: str) -> list[dict[str, str]]:
    found: list[dict[str, str]] = json.loads(
        platform.fleetwide("pool", "show", pool, "-o", "json")
    )["machines"]
    return found
