"""Bakery: recipes and their versions."""

from datetime import UTC, datetime
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Body, Path, Query, Response

from api.deps import LimitQuery, PlatformDep
from api.examples import RECIPE
from fleetwide.errors import InvalidInput
from fleetwide.models.bakery import RECIPE_PATTERN
from fleetwide.models.base import NAME_PATTERN
from fleetwide.models.documents import Page
from fleetwide.models.recipe_documents import RecipeDocument
from fleetwide.models.recipes import Recipe, RecipeSpec
from fleetwide.store import recipes

router = APIRouter(prefix="/v1/recipes", tags=["bakery"])

RecipeName = Annotated[str, Path(pattern=NAME_PATTERN)]
Reference = Annotated[str, Path(pattern=RECIPE_PATTERN, examples=["python-service:3"])]
Cursor = Annotated[str | None, Query(pattern=NAME_PATTERN, description="next of the page before")]


@router.put(
    "/{name}",
    status_code=201,
    responses={200: {"model": RecipeDocument, "description": "The newest version says the same"}},
)
def put_recipe(
    platform: PlatformDep,
    response: Response,
    name: RecipeName,
    spec: Annotated[RecipeSpec, Body(openapi_examples=RECIPE)],
) -> RecipeDocument:
    """Store the recipe as its next version; the newest version's own text makes no other."""
    if spec.name != name:
        raise InvalidInput.for_field("name", f"must be {name}, as in the path", given=spec.name)
    now = datetime.now(UTC)
    with platform.store.write() as session:
        recipe = recipes.put(session, spec, now=now)
    if recipe.created_at != now:
        response.status_code = 200
    return _document(recipe)


@router.get("")
def list_recipes(
    platform: PlatformDep,
    name: Annotated[str | None, Query(description="every version of this recipe")] = None,
    cursor: Cursor = None,
    limit: LimitQuery = 50,
) -> Page[RecipeDocument]:
    """The newest version of each recipe by name; with ``name`` its versions, newest first."""
    with platform.store.read() as session:
        if name is None:
            found = recipes.listing(session, after=cursor, limit=limit)
        else:
            before = _version(cursor)
            found = recipes.versions(session, name, before=before, limit=limit)
    last = found[-1] if len(found) == limit else None
    following = None if last is None else last.spec.name if name is None else str(last.version)
    return Page(items=[_document(recipe) for recipe in found], next=following)


@router.get("/{reference}")
def get_recipe(platform: PlatformDep, reference: Reference) -> RecipeDocument:
    """A recipe by `name`, which is its newest version, or by `name:version`."""
    name, _, version = reference.partition(":")
    with platform.store.read() as session:
        return _document(recipes.get(session, name, int(version) if version else None))


def _version(cursor: str | None) -> int | None:
    if cursor is None:
        return None
    if not (cursor.isascii() and cursor.isdecimal() and len(cursor) < 10):
        raise InvalidInput.for_field("cursor", "must be the next of an earlier page", given=cursor)
    return int(cursor)


def _document(recipe: Recipe) -> RecipeDocument:
    page = f"/v1/recipes/{quote(recipe.reference, safe=':')}"
    versions = f"/v1/recipes?name={quote(recipe.spec.name)}"
    return RecipeDocument(**recipe.model_dump(), links={"self": page, "versions": versions})
