"""Volumes of a task on the real Docker: what lies where, who may write, and that they go."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from fleetwide.models.task_states import EndReason
from tests.integration.company.stages import Stage, company, extra, until
from tests.integration.containers_fixtures import Runs

pytestmark = pytest.mark.integration
SHARED = {"name": "data", "kind": "shared", "size": "16MiB"}


def test_scratch_lies_on_disk_and_anybody_may_write_there(stage: Stage, runs: Runs) -> None:
    text = "while read a b c d; do [ $b = /work ] && echo $c; done < /proc/mounts; echo a > /work/a && echo ok"
    run = company(
        stage,
        runs,
        text,
        volumes=[{"name": "work", "size": "16MiB"}],
        mounts=[{"volume": "work", "path": "/work"}],
        security={"user": "1234", "read_only_root": True},
    )
    result = stage.execute(run)
    assert result.last_lines[-1] == "ok"
    assert result.last_lines[0] not in ("tmpfs", "overlay")


def test_a_sub_path_is_made_and_a_mount_may_be_read_only(stage: Stage, runs: Runs) -> None:
    run = company(
        stage,
        runs,
        "echo deep > /part/file; cat /all/a/b/file; echo no > /all/x || echo refused",
        volumes=[SHARED],
        mounts=[
            {"volume": "data", "path": "/part", "sub_path": "a/b"},
            {"volume": "data", "path": "/all", "read_only": True},
        ],
    )
    lines = stage.execute(run).last_lines
    assert "deep" in lines
    assert "refused" in lines


def test_a_link_in_a_volume_leads_nobody_out_of_it(
    stage: Stage, runs: Runs, tmp_path: Path
) -> None:
    """One container puts a link to the host in the place of a folder that another mounts."""
    (tmp_path / "passwd").write_text("the host's own")
    run = company(
        stage,
        runs,
        "echo still > /part/file; cat /part/*",
        extra(
            "evil",
            "read x < /data/go; sleep 600",
            start="before",
            essential=True,
            mounts=[{"volume": "data", "path": "/data"}],
            health={"command": ["/bin/sh", "-c", "cat /data/ready"], "interval_seconds": 1},
        ),
        volumes=[SHARED],
        mounts=[{"volume": "data", "path": "/part", "sub_path": "part"}],
    )
    playing = stage.play(run)
    name = f"{run.key.container_name()}.data"
    until(lambda: stage.status(run, "evil") is not None, "evil is there")
    where = Path(stage.api.inspect_volume(name)["Mountpoint"])
    # The tiny image has neither mv nor ln: this is what they would do in it.
    (where / "part").rename(where / "gone")
    (where / "part").symlink_to(tmp_path)
    subprocess.run(["sh", "-c", f"echo go > {where}/go; echo yes > {where}/ready"], check=True)
    result = playing.result.result(120)
    assert result.reason is EndReason.EXTRA_CONTAINER_FAILED or result.last_lines == ["still"]
    assert [path.name for path in tmp_path.iterdir() if path.name == "file"] == []
    assert "the host's own" not in stage.log(run)


@pytest.mark.parametrize(
    ("allowed", "path", "said"),
    [
        ("", "{0}/models", "this host allows no folders"),
        ("{0}/models", "{0}/other", "this host allows"),
        ("{0}/models", "{0}/models/out", "a link leads out of"),
        ("{0}/models", "{0}/models/missing", "this host has no such folder"),
        ("{0}/cache:rw", "{0}/cache/below", "only the whole of"),
    ],
)
def test_folders_of_the_host_are_refused_unless_allowed(
    stage: Stage, runs: Runs, tmp_path: Path, allowed: str, path: str, said: str
) -> None:
    root = _host_tree(tmp_path)
    result = _mounting(stage, runs, allowed.format(root), {"path": path.format(root)})
    assert result.reason is EndReason.START_FAILED
    assert said in result.message


def test_folders_of_the_host_are_read_only_unless_both_say_otherwise(
    stage: Stage, runs: Runs, tmp_path: Path
) -> None:
    root = _host_tree(tmp_path)
    allowed = f"{root}/models,{root}/cache:rw"
    read = _mounting(stage, runs, allowed, {"path": f"{root}/models/v1"})
    assert read.last_lines == ["weights", "read only"]
    usual = _mounting(stage, runs, allowed, {"path": f"{root}/cache"})
    assert usual.last_lines[-1] == "read only"
    refused = _mounting(stage, runs, allowed, {"path": f"{root}/models", "writable": True})
    assert "lets nobody write" in refused.message
    written = _mounting(stage, runs, allowed, {"path": f"{root}/cache", "writable": True})
    assert written.last_lines[-1] == "written"
    assert (root / "cache" / "new").exists()


def _host_tree(tmp_path: Path) -> Path:
    for folder in ("models/v1", "other", "cache/below"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "models/v1/file").write_text("weights\n")
    (tmp_path / "cache/file").write_text("cached\n")
    (tmp_path / "models/out").symlink_to("/etc")
    return tmp_path


def _mounting(stage: Stage, runs: Runs, allowed: str, volume: dict[str, Any]) -> Any:
    stage.settings = stage.settings.model_copy(update={"host_paths": allowed})
    run = company(
        stage,
        runs,
        "cat /here/file; echo a > /here/new && echo written || echo read only",
        volumes=[{"name": "here", "kind": "host", **volume}],
        mounts=[{"volume": "here", "path": "/here"}],
    )
    result = stage.execute(run)
    lines = [line for line in result.last_lines if "sh:" not in line]
    return result.model_copy(update={"last_lines": lines})
