"""Leases on a disk that is full: those that are there are renewed, new ones are refused."""

import errno
import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fleetwide.containers.leases import Lease
from fleetwide.providers.lease_folder import LeaseFolder

pytestmark = pytest.mark.integration


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[LeaseFolder]:
    """On a file system of its own, with one page left."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", tmp_path], check=True)
    try:
        yield LeaseFolder(tmp_path)
    finally:
        subprocess.run(["umount", "--lazy", tmp_path], check=True)


def fill(folder: Path) -> None:
    with (folder / "filler").open("wb", buffering=0) as file, pytest.raises(OSError) as full:
        while True:
            file.write(os.urandom(4096))
    assert full.value.errno == errno.ENOSPC


def test_a_full_disk_stops_no_renewal(folder: LeaseFolder) -> None:
    lease = Lease("fw-a", {"name": "a"}, "boot", renewed_at=99.5, stop_after=300.0, grace=10.0)
    folder.write(lease)
    fill(folder.folder)
    renewed = replace(lease, renewed_at=100_000.123456)
    folder.write(renewed)
    assert folder.get("fw-a") == renewed
    assert folder.all() == [renewed]
    folder.write(replace(renewed, renewed_at=7.0))  # a shorter text leaves nothing behind
    assert folder.get("fw-a") == replace(renewed, renewed_at=7.0)
    with pytest.raises(OSError, match="No space left"):
        folder.write(replace(lease, name="fw-b"))
    assert sorted(path.name for path in folder.folder.iterdir()) == ["filler", "fw-a.lease"]
    (folder.folder / "filler").unlink()
    folder.write(replace(lease, name="fw-b"))
    assert len(folder.all()) == 2
