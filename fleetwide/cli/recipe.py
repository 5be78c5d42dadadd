"""``fleetwide recipe``: reusable, versioned instructions for bakes."""

from typing import Annotated

import typer

from fleetwide.cli import output
from fleetwide.cli.context import Cursor, File, Limit, Output, client, noun
from fleetwide.cli.output import Card, Column, Format, Section, View
from fleetwide.cli.specs import parse, read_spec
from fleetwide.models.recipe_documents import RecipeDocument
from fleetwide.models.recipes import Parameter, RecipeSpec

app = noun("Recipes for bakes: what goes with the artifact, and how it starts (Bakery).")

RECIPES = View[RecipeDocument](
    columns=(
        Column("NAME", lambda item: item.spec.name),
        Column("VERSION", lambda item: item.version),
        Column("PARAMETERS", lambda item: ", ".join(item.spec.parameters) or None),
        Column("OWNER", lambda item: item.spec.owner),
        Column("CREATED", lambda item: item.created_at),
        Column("DIGEST", lambda item: output.short_digest(item.digest), wide=True),
        Column("DESCRIPTION", lambda item: item.spec.description, wide=True),
    ),
    name=lambda item: item.reference,
)
PARAMETERS = (
    Column[tuple[str, Parameter]]("NAME", lambda item: item[0]),
    Column[tuple[str, Parameter]]("TYPE", lambda item: item[1].type),
    Column[tuple[str, Parameter]]("DEFAULT", lambda item: _default(item[1])),
    Column[tuple[str, Parameter]]("CHOICES", lambda item: ", ".join(item[1].choices) or None),
    Column[tuple[str, Parameter]]("DESCRIPTION", lambda item: item[1].description or None),
)


@app.command()
def apply(*, file: File, style: Output = Format.TABLE) -> None:
    """Store a recipe as its next version; the newest one's own text makes no other."""
    spec = parse(RecipeSpec, read_spec(file))
    with client() as api:
        _show(api.recipes.put(spec), style)


@app.command("list")
def list_recipes(
    name: Annotated[str | None, typer.Option(help="Every version of this recipe.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    style: Output = Format.TABLE,
) -> None:
    """List recipes, each in its newest version."""
    with client() as api:
        output.listing(api.recipes.list(name=name, cursor=cursor, limit=limit), RECIPES, style)


@app.command()
def show(
    reference: Annotated[str, typer.Argument(help="A name, or name:version.")],
    style: Output = Format.TABLE,
) -> None:
    """Show one recipe and its parameters."""
    with client() as api:
        _show(api.recipes.get(reference), style)


def _show(recipe: RecipeDocument, style: Format) -> None:
    spec = recipe.spec
    rows = (
        ("recipe", recipe.reference),
        ("description", spec.description),
        ("packages", ", ".join(spec.packages)),
        ("files", ", ".join(file.path for file in spec.files)),
        ("entry point", " ".join(spec.entrypoint)),
        ("command", " ".join(spec.command)),
        ("environment", ", ".join(spec.env)),
        ("user", spec.user),
        ("ports", ", ".join(map(str, spec.ports))),
        ("init", "yes" if spec.init else None),
        ("setuid bits", "taken off" if spec.drop_setuid else None),
        ("owner", spec.owner),
        ("created", recipe.created_at),
        ("digest", recipe.digest),
    )
    parameters = list(spec.parameters.items())
    sections = [Section("parameters", output.table_lines(parameters, PARAMETERS))]
    card = Card(recipe.reference, rows, sections if parameters else ())
    output.record(recipe, card, style)


def _default(parameter: Parameter) -> str:
    return "needed" if parameter.default is None else repr(parameter.default)
