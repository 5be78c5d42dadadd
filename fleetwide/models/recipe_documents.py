"""What the API tells about recipes."""

from fleetwide.models.recipes import Recipe


class RecipeDocument(Recipe):
    """One version of a recipe with where to look further."""

    links: dict[str, str] = {}
