"""The client's methods for recipes."""

from fleetwide.client.transport import Query, Transport, segment
from fleetwide.models.documents import Page
from fleetwide.models.recipe_documents import RecipeDocument
from fleetwide.models.recipes import RecipeSpec


class RecipeClient:
    """Recipes and their versions."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def put(self, spec: RecipeSpec) -> RecipeDocument:
        """Store the next version; the answer is the newest one when it says the same already."""
        return self._transport.put(f"/v1/recipes/{segment(spec.name)}", RecipeDocument, spec)

    def list(
        self, *, name: str | None = None, cursor: str | None = None, limit: int = 50
    ) -> Page[RecipeDocument]:
        """The newest version of each recipe; with ``name`` its versions, newest first."""
        query: Query = {"name": name, "cursor": cursor, "limit": limit}
        return self._transport.get("/v1/recipes", Page[RecipeDocument], query)

    def get(self, reference: str) -> RecipeDocument:
        """A recipe by ``name``, which is its newest version, or by ``name:version``."""
        return self._transport.get(f"/v1/recipes/{segment(reference)}", RecipeDocument)
