"""Registry accounts in SQL, and what a container host may pull at this moment."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, select, update

from fleetwide.errors import Conflict, InvalidInput, NotFound
from fleetwide.models.registry_access import (
    AccountDocument,
    AccountKind,
    AccountSpec,
    Action,
    Grant,
    kind_of,
)
from fleetwide.registry.accounts import Account
from fleetwide.store import events, registry_preheats
from fleetwide.store.registry_tables import RegistryAccountRow
from fleetwide.store.tables import AttemptRow, JobRow

_LIST = "fleetwide registry account list"


@dataclass(frozen=True)
class Deed:
    """A change of accounts: who makes it, and when."""

    by: str
    now: datetime


def create(session: Session, spec: AccountSpec, secret_hash: str, deed: Deed) -> RegistryAccountRow:
    """Make an account.

    Raises:
        Conflict: one of that name exists.
        InvalidInput: it would expire at once, or a host was given grants.
    """
    _check(spec, deed.now)
    row = RegistryAccountRow(
        name=spec.name,
        secret_hash=secret_hash,
        grants=_stored(spec.grants),
        description=spec.description,
        created_by=spec.owner,
        created_at=deed.now,
        expires_at=spec.expires_at,
    )
    try:
        with session.begin_nested():
            session.add(row)
    except IntegrityError as error:
        raise Conflict(
            f"there is a registry account {spec.name} already",
            hint=f"fleetwide registry account show {spec.name}",
        ) from error
    _tell(session, row, "account-created", deed)
    return row


def _check(spec: AccountSpec, now: datetime) -> None:
    if spec.expires_at is not None and spec.expires_at <= now:
        raise InvalidInput.for_field(
            "expires_at", "must lie in the future", given=spec.expires_at.isoformat()
        )
    _check_grants(spec.name, spec.grants)


def _check_grants(name: str, grants: Sequence[Grant]) -> None:
    if kind_of(name) is AccountKind.HOST and grants:
        raise InvalidInput.for_field("grants", "must be empty: a host pulls what it is to run")


def find(session: Session, name: str) -> Account | None:
    """The account as the token server judges it; None when there is none."""
    row = session.get(RegistryAccountRow, name)
    if row is None:
        return None
    return Account(
        row.name,
        kind_of(row.name),
        row.secret_hash,
        tuple(Grant.model_validate(grant) for grant in row.grants),
        row.expires_at,
        disabled=row.disabled_at is not None,
    )


def require(session: Session, name: str) -> RegistryAccountRow:
    """The account's row.

    Raises:
        NotFound: there is none.
    """
    row = session.get(RegistryAccountRow, name)
    if row is None:
        raise NotFound(f"there is no registry account {name}", hint=_LIST)
    return row


def page(session: Session, *, after: str = "", limit: int) -> Sequence[RegistryAccountRow]:
    """Accounts by name; ``after`` is the last name already seen."""
    query = select(RegistryAccountRow).where(col(RegistryAccountRow.name) > after)
    return session.exec(query.order_by(col(RegistryAccountRow.name)).limit(limit)).all()


def set_grants(
    session: Session, name: str, grants: Sequence[Grant], deed: Deed
) -> RegistryAccountRow:
    """Replace what the account may do; tokens that are out keep the old rights until they end."""
    row = require(session, name)
    _check_grants(name, grants)
    row.grants = _stored(grants)
    _tell(session, row, "account-granted", deed)
    return row


def rotate(session: Session, name: str, secret_hash: str, deed: Deed) -> RegistryAccountRow:
    """Give the account another secret; the old one and its refresh tokens end at once.

    Raises:
        InvalidInput: the anonymous account has none.
    """
    row = require(session, name)
    if kind_of(name) is AccountKind.ANONYMOUS:
        raise InvalidInput.for_field("name", "must be another: anonymous has no secret")
    row.secret_hash = secret_hash
    _tell(session, row, "account-rotated", deed)
    return row


def disable(session: Session, name: str, deed: Deed) -> RegistryAccountRow:
    """Give the account no more tokens; those that are out end within five minutes."""
    row = require(session, name)
    if row.disabled_at is None:
        row.disabled_at = deed.now
        _tell(session, row, "account-disabled", deed)
    return row


def enable(session: Session, name: str, deed: Deed) -> RegistryAccountRow:
    """Let a disabled account log in again, by the secret it had."""
    row = require(session, name)
    if row.disabled_at is not None:
        row.disabled_at = None
        _tell(session, row, "account-enabled", deed)
    return row


def delete(session: Session, name: str, deed: Deed) -> None:
    """Remove the account.

    Raises:
        NotFound: there is none.
    """
    row = require(session, name)
    _tell(session, row, "account-deleted", deed)
    session.delete(row)


def note_used(session: Session, name: str, now: datetime, before: datetime) -> None:
    """Record a use, unless one was recorded at ``before`` or later."""
    used = col(RegistryAccountRow.last_used_at)
    session.exec(
        update(RegistryAccountRow)
        .where(col(RegistryAccountRow.name) == name, used.is_(None) | (used < before))
        .values(last_used_at=now)
    )


def host_grants(session: Session, host_id: str, *, now: datetime) -> list[Grant]:
    """What a container host may pull: images of its reserved attempts, and of pre-heats."""
    jobs = session.exec(
        select(JobRow.image, JobRow.extra_images)
        .join(AttemptRow, col(AttemptRow.job_id) == col(JobRow.id))
        .where(AttemptRow.host_id == host_id, col(AttemptRow.reserved))
    )
    images = {one for image, extras in jobs for one in (image, *(extras or {}).values())}
    repositories = {image.partition("@")[0] for image in images} - {""}
    repositories |= registry_preheats.repositories(session, host_id, now=now)
    return [Grant(repositories=name, actions=[Action.PULL]) for name in sorted(repositories)]


def document(row: RegistryAccountRow) -> AccountDocument:
    """The account as people see it."""
    shown = row.model_dump(exclude={"secret_hash"})
    return AccountDocument(**shown, kind=kind_of(row.name))


def _stored(grants: Sequence[Grant]) -> list[dict[str, object]]:
    return [grant.model_dump(mode="json") for grant in grants]


def _tell(session: Session, row: RegistryAccountRow, kind: str, deed: Deed) -> None:
    done = kind.removeprefix("account-")
    message = f"registry account {row.name} was {done}"
    subject, data = f"registry-account/{row.name}", {"by": deed.by}
    events.append(session, subject, kind, message, at=deed.now, data=data)
