"""The specs that people copy are accepted."""

from pathlib import Path

import pytest
import yaml

from fleetwide.models.containers import ContainerTaskSpec

FOLDER = Path(__file__).parents[2] / "examples/containers"


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.name)
def test_an_example_is_a_task(path: Path) -> None:
    ContainerTaskSpec.model_validate(yaml.safe_load(path.read_text()))
