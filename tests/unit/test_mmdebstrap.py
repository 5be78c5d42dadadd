import tarfile
from pathlib import Path

import pytest

from fleetwide.errors import BuildFailed, FleetwideError, PlatformError
from fleetwide.providers import mmdebstrap
from fleetwide.providers.sandbox import Finished
from tests.unit.test_baseos import plan


@pytest.mark.parametrize(
    ("finished", "error"),
    [
        (Finished(25, ["E: Unable to locate package nope"]), BuildFailed),
        (Finished(25, ["E: Temporary failure resolving 'x'", "E: failed"]), PlatformError),
        (Finished(25, ["tar: write error: No space left on device"]), PlatformError),
        (Finished(-9, []), PlatformError),
    ],
)
def test_who_is_at_fault_decides_whether_it_is_tried_again(
    finished: Finished, error: type[FleetwideError]
) -> None:
    failure = mmdebstrap._failure(plan(), finished)
    assert type(failure) is error
    assert all(line in failure.message for line in finished.lines)


def test_an_empty_tar_is_no_release(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "empty.tar", "w"):
        pass
    with pytest.raises(BuildFailed, match="no readable dpkg status"):
        mmdebstrap._installed_packages(tmp_path / "empty.tar")


def test_a_status_without_packages_is_no_release(tmp_path: Path) -> None:
    (tmp_path / "status").write_text("\n")
    with tarfile.open(tmp_path / "bare.tar", "w") as archive:
        archive.add(tmp_path / "status", mmdebstrap.STATUS_FILE)
    with pytest.raises(BuildFailed, match="no installed package"):
        mmdebstrap._installed_packages(tmp_path / "bare.tar")
