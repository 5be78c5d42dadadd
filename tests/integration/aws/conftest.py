import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fleetwide.baseos.snapshot_blocks import BLOCK_BYTES
from tests.aws import Aws, running_aws

WriteDisk = Callable[[dict[int, bytes], int], Path]


@pytest.fixture(params=["plain", "like"])
def any_aws(request: pytest.FixtureRequest) -> Iterator[Aws]:
    """Moto as it is, and moto with AWS's answers."""
    with running_aws(like_aws=request.param == "like") as aws:
        yield aws


@pytest.fixture
def aws() -> Iterator[Aws]:
    """Moto with AWS's answers."""
    with running_aws(like_aws=True) as aws:
        yield aws


@pytest.fixture
def write_disk(tmp_path: Path) -> WriteDisk:
    """Writes a sparse disk: block index to content, and the size of the file in bytes."""

    def write(blocks: dict[int, bytes], size: int) -> Path:
        path = tmp_path / f"{random.randbytes(4).hex()}.raw"
        with path.open("wb") as file:
            file.truncate(size)
            for index, content in blocks.items():
                file.seek(index * BLOCK_BYTES)
                file.write(content)
        return path

    return write
