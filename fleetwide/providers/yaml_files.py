"""Files that an organisation keeps beside the platform, as YAML or JSON."""

from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from fleetwide.errors import InvalidInput
from fleetwide.validation import invalid_input

MAX_BYTES = 1024 * 1024

Model = TypeVar("Model", bound=BaseModel)


def read_yaml(path: Path, model: type[Model], what: str, hint: str) -> Model:
    """The file as a ``model``; an empty one is the model with nothing set.

    Raises:
        InvalidInput: it cannot be read, or something in it is wrong; ``what`` names the file.
    """
    named = f"{what} {path}"
    try:
        content = yaml.safe_load(_text(path, named))
        return model.model_validate({} if content is None else content)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f": line {mark.line + 1}" if mark else ""
        raise InvalidInput(f"{named} is neither YAML nor JSON{place}", hint=hint) from error
    except ValidationError as error:
        raise invalid_input(error, model, hint=hint) from error


def _text(path: Path, named: str) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
        text = raw.decode()
    except OSError as error:
        raise InvalidInput(f"{named} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{named} is not UTF-8 text") from error
    if len(raw) > MAX_BYTES:
        raise InvalidInput(f"{named} is above {MAX_BYTES} bytes")
    return text
