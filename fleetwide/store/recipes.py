"""Recipes and their versions; a version that is stored never changes."""

import difflib
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, func, select

from fleetwide.bakery.recipes import check_recipe, recipe_digest
from fleetwide.errors import Conflict, NotFound
from fleetwide.models.recipes import Recipe, RecipeSpec
from fleetwide.store import events
from fleetwide.store.tables import RecipeRow

MAX_COMPARED = 1000
"""Names that a misspelt one is compared with."""
_LIST = "fleetwide recipe list"


def put(session: Session, spec: RecipeSpec, *, now: datetime) -> Recipe:
    """Store the recipe as its next version, unless the newest one says the same already.

    Raises:
        InvalidInput: no bake could use it.
        Conflict: somebody else stored a version at the same moment.
    """
    check_recipe(spec)
    newest, digest = _newest(session, spec.name), recipe_digest(spec)
    if newest is not None and newest.digest == digest:
        return _model(newest)
    row = RecipeRow(
        name=spec.name,
        version=newest.version + 1 if newest else 1,
        digest=digest,
        spec=spec.model_dump(mode="json"),
        created_at=now,
    )
    try:
        with session.begin_nested():
            session.add(row)
    except IntegrityError as error:
        raise Conflict(
            f"somebody else stored a version of {spec.name} at the same moment",
            hint=f"fleetwide recipe show {spec.name}",
        ) from error
    recipe = _model(row)
    events.append(session, f"recipe/{spec.name}", "stored", f"stored {recipe.reference}", at=now)
    return recipe


def get(session: Session, name: str, version: int | None = None) -> Recipe:
    """One version of a recipe; without a number the newest.

    Raises:
        NotFound: there is no such recipe, or not in that version.
    """
    newest = _newest(session, name)
    if newest is None:
        raise NotFound(f"there is no recipe {name}{_nearest(session, name)}", hint=_LIST)
    row = newest if version is None else session.get(RecipeRow, (name, version))
    if row is None:
        raise NotFound(
            f"recipe {name} has no version {version}; its newest is {newest.version}",
            hint=f"fleetwide recipe list --name {name}",
        )
    return _model(row)


def listing(session: Session, *, after: str | None = None, limit: int = 50) -> list[Recipe]:
    """The newest version of each recipe by name; ``after`` is the last name already seen."""
    newest = (
        select(col(RecipeRow.name).label("name"), func.max(RecipeRow.version).label("version"))
        .group_by(col(RecipeRow.name))
        .subquery()
    )
    query = select(RecipeRow).join(
        newest,
        (col(RecipeRow.name) == newest.c.name) & (col(RecipeRow.version) == newest.c.version),
    )
    if after is not None:
        query = query.where(RecipeRow.name > after)
    return _models(session.exec(query.order_by(col(RecipeRow.name)).limit(limit)).all())


def versions(
    session: Session, name: str, *, before: int | None = None, limit: int = 50
) -> list[Recipe]:
    """The versions of one recipe, newest first; ``before`` is the last one already seen."""
    query = select(RecipeRow).where(RecipeRow.name == name)
    if before is not None:
        query = query.where(RecipeRow.version < before)
    return _models(session.exec(query.order_by(col(RecipeRow.version).desc()).limit(limit)).all())


def _newest(session: Session, name: str) -> RecipeRow | None:
    query = select(RecipeRow).where(RecipeRow.name == name)
    return session.exec(query.order_by(col(RecipeRow.version).desc()).limit(1)).first()


def _nearest(session: Session, name: str) -> str:
    names = session.exec(select(RecipeRow.name).distinct().limit(MAX_COMPARED)).all()
    close = difflib.get_close_matches(name, names, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _models(rows: Sequence[RecipeRow]) -> list[Recipe]:
    return [_model(row) for row in rows]


def _model(row: RecipeRow) -> Recipe:
    return Recipe.model_validate(row.model_dump())
