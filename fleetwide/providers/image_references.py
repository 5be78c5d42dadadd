"""Tag to digest: by the registry's index, which is at hand, and by the registry itself."""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

from sqlalchemy.exc import DBAPIError

from fleetwide.errors import FleetwideError, RegistryUnavailable, UserError
from fleetwide.models.registry_documents import ReferenceAnswer
from fleetwide.providers.distribution import RegistryClient
from fleetwide.registry.references import ImageReference, parse_reference
from fleetwide.store.registry_visibility import resolve
from fleetwide.store.session import Store

AT_A_TIME = 8
Check = Callable[[ImageReference], None]


class ImageResolver:
    """Says which digest a reference means now; safe to share between threads.

    What the index knows it answers alone, so a registry that is away holds nothing up. What the
    index does not know may still lie in a registry that was never imported: that one is asked.
    """

    def __init__(self, store: Store, registry: RegistryClient) -> None:
        self._store = store
        self._registry = registry

    def resolve(self, reference: ImageReference) -> str:
        """The digest that a tag (or digest) names now.

        Raises:
            ImageNotFound: the registry answers that there is no such image.
            RegistryUnavailable: nobody can tell now; asking again may help.
        """
        known = self._indexed([reference])
        return known[reference] if reference in known else self._registry.resolve(reference)

    def resolve_all(self, texts: Sequence[str], check: Check) -> list[ReferenceAnswer]:
        """An answer for each text, in order; a bad or unknown one spoils no other.

        ``check`` raises for a reference that the caller may not ask for.
        """
        parsed = [_parse(text, check) for text in texts]
        references = [one for one in parsed if isinstance(one, ImageReference)]
        found: dict[ImageReference, str | FleetwideError] = {**self._indexed(references)}
        found |= self._asked([one for one in dict.fromkeys(references) if one not in found])
        return [
            _answer(text, one, found[one] if isinstance(one, ImageReference) else one)
            for text, one in zip(texts, parsed, strict=True)
        ]

    def _indexed(self, references: Iterable[ImageReference]) -> dict[ImageReference, str]:
        """What the index knows; where it does not answer, the registry is asked instead."""
        try:
            with self._store.read() as session:
                return resolve(session, references)
        except DBAPIError:
            return {}

    def _asked(
        self, references: Sequence[ImageReference]
    ) -> dict[ImageReference, str | FleetwideError]:
        if not references:
            return {}
        with ThreadPoolExecutor(AT_A_TIME, "resolve") as threads:
            return dict(
                zip(references, threads.map(_Asking(self._registry), references), strict=True)
            )


class _Asking:
    """Asks the registry, but not on and on once it has not answered: each would wait in vain."""

    def __init__(self, registry: RegistryClient) -> None:
        self._registry = registry
        self._trouble: RegistryUnavailable | None = None

    def __call__(self, reference: ImageReference) -> str | FleetwideError:
        if self._trouble is not None:
            return self._trouble
        try:
            return self._registry.resolve(reference)
        except RegistryUnavailable as error:
            self._trouble = error
            return error
        except FleetwideError as error:
            return error


def _parse(text: str, check: Check) -> ImageReference | UserError:
    try:
        reference = parse_reference(text, "reference")
        check(reference)
    except UserError as error:
        return error
    return reference


def _answer(
    text: str, parsed: ImageReference | UserError, found: str | FleetwideError
) -> ReferenceAnswer:
    if isinstance(found, FleetwideError) or isinstance(parsed, UserError):
        error = found if isinstance(found, FleetwideError) else parsed
        assert isinstance(error, FleetwideError)
        return ReferenceAnswer(reference=text, code=error.code, detail=error.message)
    return ReferenceAnswer(reference=text, digest=found, pinned=str(parsed.pinned(found)))
