from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.registry_shelf import Shelf, shelf


@pytest.fixture
def box(database_url: str, tmp_path: Path) -> Iterator[Shelf]:
    """Index and storage where nothing waits: what lost its last reference goes at once."""
    with shelf(database_url, tmp_path / "storage") as opened:
        yield opened
