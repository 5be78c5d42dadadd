"""The bakery policy that an organisation keeps as a file."""

from pathlib import Path

import yaml
from pydantic import ValidationError

from fleetwide.errors import InvalidInput
from fleetwide.models.policy import BakeryPolicy
from fleetwide.validation import invalid_input

MAX_POLICY_BYTES = 1024 * 1024


def read_policy(path: Path | None) -> BakeryPolicy:
    """The policy of a YAML or JSON file; without a file the platform's own.

    It is read anew each time, so that a changed file counts from the next bake on.

    Raises:
        InvalidInput: the file cannot be read, or a rule or number of it is wrong.
    """
    if path is None:
        return BakeryPolicy()
    hint = "fleetwide bake rules"
    try:
        content = yaml.safe_load(_text(path))
        return BakeryPolicy.model_validate({} if content is None else content)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f": line {mark.line + 1}" if mark else ""
        raise InvalidInput(
            f"the bakery policy {path} is neither YAML nor JSON{place}", hint=hint
        ) from error
    except ValidationError as error:
        raise invalid_input(error, BakeryPolicy, hint=hint) from error


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_POLICY_BYTES + 1)
        text = raw.decode()
    except OSError as error:
        raise InvalidInput(f"the bakery policy {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InvalidInput(f"the bakery policy {path} is not UTF-8 text") from error
    if len(raw) > MAX_POLICY_BYTES:
        raise InvalidInput(f"the bakery policy {path} is above {MAX_POLICY_BYTES} bytes")
    return text
