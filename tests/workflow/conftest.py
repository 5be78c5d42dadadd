from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.workflow.world import World, world


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[World]:
    """On the real dev server."""
    async with world(tmp_path) as running:
        yield running
