"""Who changes queues and submits to them: an account where somebody signed in, else whom they say.

Where the platform asks for accounts, a name that nobody signed in with opens no list of names.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from sqlmodel import Session

from api.auth import LOG_IN
from api.deps import Platform, PlatformDep
from fleetwide.batch.queues import Inherited, Specs
from fleetwide.errors import Denied, Unauthenticated
from fleetwide.models.batch import BatchJobSpec
from fleetwide.models.queues import QueueEdit, QueueSpec, line_of
from fleetwide.store import queues

# What the owners of a queue cannot give themselves.
OF_THOSE_ABOVE = ("guarantee", "limit", "weight", "owners")


@dataclass(frozen=True)
class Person:
    """Who asks."""

    account: str
    """Empty where nobody signed in."""
    administers: bool
    """Whether they may do everything."""
    asked: bool
    """Whether the platform has accounts, so that a name has to be one."""

    def name(self, given: str = "") -> str:
        """The account; without one whom they say they are."""
        return self.account or given

    def require(self, named: Sequence[str], what: str, given: str = "") -> None:
        """Let the request pass if the person is among ``named``, or if it names nobody.

        Raises:
            Unauthenticated: nobody signed in, and a name alone says nothing here.
            Denied: the person is not among them.
        """
        if not named or self.administers:
            return
        if self.asked and not self.account:
            raise Unauthenticated(f"without an account nobody may {what}", hint=LOG_IN)
        if self.name(given) not in named:
            who = self.name(given) or "somebody without a name"
            raise Denied(f"{who} may not {what}", hint=f"ask one of {', '.join(named[:5])}")


async def _person(request: Request, platform: PlatformDep) -> Person:
    asked = platform.settings.registry_auth != "off"
    if not asked or "authorization" not in request.headers:
        return Person("", administers=False, asked=asked)
    visitor = await platform.entrance.admit(request)
    return Person(visitor.name, administers=visitor.administers, asked=True)


PersonDep = Annotated[Person, Depends(_person)]


def admit_job(platform: Platform, person: Person, spec: BatchJobSpec) -> BatchJobSpec:
    """The job with what its queue says of jobs that say nothing.

    Raises:
        InvalidInput: its queue takes no jobs by its place in the tree, or not of this priority.
        Unauthenticated, Denied: somebody else may submit to it.
        Conflict: it takes none now.
    """
    with platform.store.read() as session:
        found = queues.lookup(session, spec.queue, priority=spec.priority)
        person.require(found.submitters(), f"submit to queue {spec.queue}", spec.owner)
        queues.refuse_drained(session, found)
    retry = found.nearest("retry")
    if retry is None or "retry" in spec.model_fields_set:
        return spec
    return spec.model_copy(update={"retry": retry})


def require_changes(
    session: Session, person: Person, edits: Sequence[QueueEdit], given: str
) -> None:
    """Let changes of queues pass.

    Raises:
        Unauthenticated, Denied: a queue, or one above it, has owners, and these are others.
    """
    known = queues.specs(session)
    for edit in edits:
        if edit.path in known:
            found = Inherited.of(edit.path, known)
            of_those_above = _touches_capacity(known[edit.path], edit.spec)
            named = found.owners_above() if of_those_above else found.owners()
        else:
            named = _owners_of_the_place(known, edit.path)
        person.require(named, f"change queue {edit.path} so", given)


def _touches_capacity(now: QueueSpec, wanted: QueueSpec | None) -> bool:
    return wanted is None or any(
        getattr(now, field) != getattr(wanted, field) for field in OF_THOSE_ABOVE
    )


def _owners_of_the_place(known: Specs, path: str) -> list[str]:
    above = [each for each in line_of(path) if each in known]
    return Inherited.of(above[0], known).owners() if above else []
