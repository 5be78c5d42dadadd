"""The client's methods for the registry: what it hosts, what tags meant, what may go."""

from collections.abc import Sequence
from datetime import datetime

from fleetwide.client.transport import Query, Transport, segment
from fleetwide.models.documents import Operation, Page
from fleetwide.models.registry_documents import (
    DeletionRequest,
    ManifestDocument,
    NamespaceDocument,
    NamespaceSettings,
    Repository,
    ResolvedReference,
    ResolvedReferences,
    ResolveRequest,
    TagDocument,
    TagMoment,
    UndoRequest,
    UsageBy,
    UsageReport,
)
from fleetwide.models.registry_retention import (
    ApplyRequest,
    RegistryRetentionRequest,
    RetentionReport,
    ReviewedTag,
)

ROOT = "/v1/registry"


class RegistryClient:
    """What the registry hosts."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def repositories(self, *, cursor: str | None = None, limit: int = 50) -> Page[Repository]:
        query: Query = {"cursor": cursor, "limit": limit}
        return self._transport.get(f"{ROOT}/repositories", Page[Repository], query)

    def search(self, text: str, *, cursor: str | None = None, limit: int = 50) -> Page[Repository]:
        """Repositories that have ``text`` in their names."""
        query: Query = {"q": text, "cursor": cursor, "limit": limit}
        return self._transport.get(f"{ROOT}/search", Page[Repository], query)

    def tags(
        self, repository: str, *, prefix: str = "", cursor: str | None = None, limit: int = 50
    ) -> Page[TagDocument]:
        query: Query = {"prefix": prefix, "cursor": cursor, "limit": limit}
        return self._transport.get(_repository(repository, "tags"), Page[TagDocument], query)

    def tag(self, repository: str, tag: str, *, at: datetime | None = None) -> TagMoment:
        """What the tag means now, or meant at a time."""
        query: Query = {"at": at.isoformat() if at else None}
        return self._transport.get(_tag(repository, tag), TagMoment, query)

    def history(self, repository: str, tag: str, *, limit: int = 50) -> Page[TagMoment]:
        """What the tag has meant, newest first."""
        path = f"{_tag(repository, tag)}/history"
        return self._transport.get(path, Page[TagMoment], {"limit": limit})

    def undo(self, repository: str, tag: str, request: UndoRequest) -> TagMoment:
        """Let the tag mean again what it meant before."""
        return self._transport.post(f"{_tag(repository, tag)}/undo", TagMoment, body=request)

    def untag(self, repository: str, tag: str, *, by: str = "", reason: str = "") -> None:
        """Delete the tag; its image stays until it is collected."""
        self._transport.delete(_tag(repository, tag), {"by": by, "reason": reason})

    def image(self, repository: str, reference: str) -> ManifestDocument:
        """An image by tag or digest, with its layers."""
        path = _repository(repository, "manifests")
        return self._transport.get(f"{path}/{segment(reference)}", ManifestDocument)

    def resolve(self, reference: str) -> ResolvedReference:
        query: Query = {"reference": reference}
        return self._transport.get(f"{ROOT}/resolve", ResolvedReference, query)

    def resolve_all(self, references: Sequence[str]) -> ResolvedReferences:
        """Up to 500 references at once; each answer stands for itself."""
        body = ResolveRequest(references=list(references))
        return self._transport.post(f"{ROOT}/resolve", ResolvedReferences, body=body)

    def usage(
        self,
        by: UsageBy = UsageBy.NAMESPACE,
        *,
        name: str = "",
        cursor: str | None = None,
        limit: int = 50,
    ) -> UsageReport:
        """What namespaces or owners hold."""
        query: Query = {"by": by, "name": name, "cursor": cursor, "limit": limit}
        return self._transport.get(f"{ROOT}/usage", UsageReport, query)

    def namespace(self, name: str) -> NamespaceDocument:
        return self._transport.get(_namespace(name), NamespaceDocument)

    def set_namespace(self, name: str, settings: NamespaceSettings) -> NamespaceDocument:
        """Set a namespace's quota and owner; they go before the policy file."""
        return self._transport.put(_namespace(name), NamespaceDocument, settings)

    def unset_namespace(self, name: str) -> None:
        """Let the policy file decide again."""
        self._transport.delete(_namespace(name))

    def retain(self, request: RegistryRetentionRequest, *, wait: float = 0) -> Operation:
        """Begin a report of what would go; the operation's result is a ``RetentionReport``."""
        return self._transport.post(f"{ROOT}/retention", Operation, wait=wait, body=request)

    def retention(self, retention_id: str) -> RetentionReport:
        """The report as far as it is written."""
        return self._transport.get(f"{ROOT}/retention/{segment(retention_id)}", RetentionReport)

    def apply(self, retention_id: str, request: ApplyRequest) -> Operation:
        """Let the tags go that the report counts."""
        path = f"{ROOT}/retention/{segment(retention_id)}/apply"
        return self._transport.post(path, Operation, body=request)

    def reviewed(
        self, repository: str, *, cursor: str | None = None, limit: int = 50
    ) -> Page[ReviewedTag]:
        """What the rules would make of each tag now."""
        query: Query = {"cursor": cursor, "limit": limit}
        return self._transport.get(_repository(repository, "retention"), Page[ReviewedTag], query)

    def delete(self, request: DeletionRequest, *, wait: float = 0) -> Operation:
        """Delete a repository with all that is in it; the result is a ``DeletionResult``."""
        return self._transport.post(f"{ROOT}/deletions", Operation, wait=wait, body=request)


def _repository(name: str, part: str) -> str:
    return f"{ROOT}/repositories/{segment(name)}/{part}"


def _tag(repository: str, tag: str) -> str:
    return f"{_repository(repository, 'tags')}/{segment(tag)}"


def _namespace(name: str) -> str:
    return f"{ROOT}/namespaces/{segment(name)}"
