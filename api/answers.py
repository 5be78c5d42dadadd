"""Answers that are sent as they are: FastAPI would check, copy and write them once more."""

from fastapi import Response
from pydantic import BaseModel


def json_answer(document: BaseModel, status: int = 200) -> Response:
    """``document``, which was built by its own model and needs no second look, as JSON."""
    return Response(document.model_dump_json(), status, media_type="application/json")
