"""The bakery policy that an organisation keeps as a file."""

from pathlib import Path

from fleetwide.models.policy import BakeryPolicy
from fleetwide.providers.yaml_files import read_yaml


def read_policy(path: Path | None) -> BakeryPolicy:
    """The policy of a YAML or JSON file; without a file the platform's own.

    It is read anew each time, so that a changed file counts from the next bake on.

    Raises:
        InvalidInput: the file cannot be read, or a rule or number of it is wrong.
    """
    if path is None:
        return BakeryPolicy()
    return read_yaml(path, BakeryPolicy, "the bakery policy", "fleetwide bake rules")
