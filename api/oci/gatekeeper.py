"""Who may do what: what the application asks of authentication."""

from typing import Protocol

from api.oci.requests import Request


class Gatekeeper(Protocol):
    """Judges every request below ``/v2/`` before anything of it is done."""

    async def authorise(self, request: Request) -> None:
        """Let the request pass; ``request.by`` and ``request.allowed`` are set then.

        Raises:
            OciError: 401 with a challenge, or 503 where that cannot be found out.
        """

    async def listable(self, request: Request) -> list[str] | None:
        """Repositories, and paths that end in a slash, that may be listed; None for all."""


class Open:
    """Everybody may do everything: for tests and private networks."""

    async def authorise(self, request: Request) -> None:
        """Let everything pass; nobody is asked for a name."""

    async def listable(self, _request: Request) -> list[str] | None:
        return None
