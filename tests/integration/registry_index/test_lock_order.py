"""No two transactions of the registry wait for each other; where they did, a client tries again."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial

import pytest
from pydantic import SecretStr
from sqlalchemy import text
from sqlmodel import Session

from api.oci.errors import OciError
from api.oci.gateway import Gateway
from fleetwide.registry.manifests import ParsedManifest
from fleetwide.settings import Settings
from fleetwide.store import registry_gc, registry_pulls
from fleetwide.store import registry_manifests as manifests
from fleetwide.store import registry_repositories as repositories
from fleetwide.store.session import Store
from tests.integration.registry_index.races import PATIENCE, ROUNDS, side_by_side
from tests.postgres import TEMPLATE, Postgres
from tests.registry_index import NOW, image, push, upload

pytestmark = pytest.mark.integration
A, B, C = image("a"), image("b"), image("c")


@pytest.fixture
def url(postgres: Postgres) -> str:
    return postgres.database(TEMPLATE)


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    opened = Store.open(url)
    for name in ("apps/x", "apps/y"):
        upload(opened, name, "config", "a", "b", "c")
        for parsed in (A, B, C):
            push(opened, name, parsed)
    yield opened
    opened.engine.dispose()


def test_manifests_that_share_blobs_are_deleted_in_any_order(store: Store) -> None:
    deleted = threading.Barrier(2)

    def delete(name: str, first: ParsedManifest, second: ParsedManifest) -> None:
        with store.write() as session:
            row = repositories.require(session, name)
            assert manifests.delete(session, row, first.digest, by="me", now=NOW)
            deleted.wait(PATIENCE)
            assert manifests.delete(session, row, second.digest, by="me", now=NOW)

    side_by_side(partial(delete, "apps/x", A, B), partial(delete, "apps/y", B, A))
    with store.read() as session:
        reviews = registry_gc.due(session, NOW + timedelta(days=2), 99)
        causes = {row.digest: row.cause for row in reviews if row.kind == "blob"}
    for layer in (*A.layers, *B.layers):
        assert causes[layer.digest] == "unreferenced"


def test_pulls_are_counted_while_tags_move(store: Store) -> None:
    def count() -> None:
        with store.write() as session:
            number = repositories.id_of(repositories.require(session, "apps/x"))
            registry_pulls.note(session, {(number, one.digest, ""): 1 for one in (A, B, C)}, NOW)

    tags = ["one", "two", "three"]
    for number in range(ROUNDS):
        parsed = (A, B, C)[number % 3]
        side_by_side(
            count,
            partial(push, store, "apps/x", parsed, tags=tags[: number % 3 + 1]),
            count,
        )
    with store.read() as session:
        row = repositories.require(session, "apps/x")
        found = manifests.find(session, repositories.id_of(row), A.digest)
    assert found is not None
    assert found.pulls == 2 * ROUNDS


def crosswise(session: Session, meeting: threading.Barrier, names: tuple[str, str]) -> None:
    """Lock two repositories, each at a time, against the order that everybody keeps."""
    for name in names:
        repositories.lock(session, repositories.require(session, name))
        if name == names[0]:
            meeting.wait(PATIENCE)


def overtaken(session: Session, meeting: threading.Barrier, _names: tuple[str, str]) -> None:
    """Change what another has changed since this transaction began."""
    session.connection().execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
    row = repositories.require(session, "apps/x")
    meeting.wait(PATIENCE)
    row.size += 1


@pytest.mark.parametrize("work", [crosswise, overtaken])
def test_a_transaction_that_the_database_breaks_off_is_answered_with_try_again(
    store: Store, url: str, work: Callable[[Session, threading.Barrier, tuple[str, str]], None]
) -> None:
    meeting = threading.Barrier(2)

    async def both() -> tuple[BaseException | None, ...]:
        gateway = Gateway.open(Settings(database_url=SecretStr(url)))
        try:
            return await asyncio.gather(
                gateway.writing(lambda session: work(session, meeting, ("apps/x", "apps/y"))),
                gateway.writing(lambda session: work(session, meeting, ("apps/y", "apps/x"))),
                return_exceptions=True,
            )
        finally:
            await gateway.close()

    results = asyncio.run(both())
    (refused,) = [one for one in results if one is not None]
    assert isinstance(refused, OciError)
    reply = refused.reply()
    assert reply.status == 503
    assert (b"retry-after", b"5") in reply.headers
    assert b"UNAVAILABLE" in reply.body
