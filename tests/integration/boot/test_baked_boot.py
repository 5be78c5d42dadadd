"""A baked disk in a real machine: it starts as the base does, and the workload with it."""

import shlex
from pathlib import Path

import pytest

from fleetwide.models.baseos import Architecture, BootMode, CommandTest
from fleetwide.models.os_releases import DiskImage
from fleetwide.providers.baked_disks import RAW, DiskBake, bake_disk
from fleetwide.providers.disk_trees import DiskTrees
from fleetwide.providers.layers import plain_entries
from fleetwide.providers.payloads import Payload
from fleetwide.providers.progress import no_progress
from fleetwide.providers.qemu import boot_test
from fleetwide.providers.qemu_command import BootRequest
from tests.integration.boot.conftest import disk_of
from tests.unit.bakes import BASE, resolved

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]
GREETING = 'good  "morning" 100% $HOME \\ ;'
RUN = '#!/bin/sh\nprintf %s "$GREETING" > "$1/said"\nexec sleep 10000\n'


def test_a_baked_disk_boots_and_its_workload_runs(
    vm_tree: Path, tools: Path, tmp_path: Path
) -> None:
    raw = tmp_path / "base.raw"
    image = DiskImage(
        digest=disk_of(vm_tree, tools, raw),
        size=raw.stat().st_size,
        used=0,
        boot=BootMode.BIOS,
        architecture=Architecture.AMD64,
        key="baseos/disks/base.raw.gz",
    )
    staging, work = tmp_path / "staging", tmp_path / "work"
    (staging / "opt/hello").mkdir(parents=True)
    (staging / "opt/hello/run").write_text(RUN)
    (staging / "opt/hello/run").chmod(0o755)
    work.mkdir()
    bake = resolved(
        BASE.model_copy(update={"disk": image}),
        targets=["vm"],
        command=["/opt/hello/run", "/var/lib/hello world"],
        volumes=["/var/lib/hello world"],
        env={"GREETING": GREETING},
    )
    request = DiskBake(
        bake=bake,
        payload=Payload(plain_entries(staging, BASE.created_epoch)),
        disk=raw,
        tree=DiskTrees(tmp_path / "trees").tree(image, raw, no_progress),
        tools=tools,
        workdir=work,
        env={},
    )
    bake_disk(request, no_progress)
    said = '"/var/lib/hello world/said"'
    commands = [
        CommandTest(name="active", run="systemctl is-active hello.service"),
        CommandTest(name="said", run=f'test "$(cat {said})" = {shlex.quote(GREETING)}'),
        CommandTest(name="nobody", run=f"test $(stat -c %u:%g {said}) = 65534:65534"),
    ]
    report = boot_test(
        BootRequest(
            work / RAW, BootMode.BIOS, tmp_path / "console", commands=commands, timeout_seconds=550
        ),
        no_progress,
    )
    assert [check.found for check in report.checks if check.found] == []
    assert (report.passed, report.state) == (True, "running")
