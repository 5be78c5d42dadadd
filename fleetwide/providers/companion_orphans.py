"""What attempts that nobody waits for have left beside their main container."""

from fleetwide.containers.company import (
    HOLDER,
    HOLDER_ROOT,
    PREPARER,
    SECRETS,
    container_name,
    log_key,
)
from fleetwide.containers.launch import key_from_labels
from fleetwide.models.containers import AttemptKey
from fleetwide.providers.attempt_logs import LogWriter
from fleetwide.providers.companions import limits_of
from fleetwide.providers.docker import ContainerHost
from fleetwide.providers.docker_volumes import get_files, our_volumes, remove_volume
from fleetwide.providers.engine import ContainerEngine, ListedContainer
from fleetwide.providers.following import Follower
from fleetwide.providers.objects import ObjectStore
from fleetwide.providers.secret_memory import SecretMemory

VOLUME = "volume"
"""The status of an entry that stands for a volume without a container."""


def abandoned_volumes(host: ContainerEngine, found: list[ListedContainer]) -> list[ListedContainer]:
    """Volumes of attempts that have no container here any more, as entries to be looked at."""
    if not isinstance(host, ContainerHost):
        return []
    known = {key.container_name() for one in found if (key := key_from_labels(one.labels))}
    return [
        ListedContainer(volume.name, volume.name, VOLUME, 0, volume.labels)
        for volume in our_volumes(host)
        if (key := key_from_labels(volume.labels)) and key.container_name() not in known
    ]


def held_secrets(host: ContainerEngine, attempt: AttemptKey) -> list[bytes] | None:
    """The values that the attempt's containers got; None when nobody remembers them any more."""
    if not isinstance(host, ContainerHost):
        return []
    volume = container_name(attempt, SECRETS)
    if all(one.name != volume for one in our_volumes(host)):
        return []
    holder = host.inspect(container_name(attempt, HOLDER))
    if holder is None or holder.status != "running":
        known = SecretMemory(host.platform, host.host_id).recall(attempt.container_name())
        return list(known.values()) or None
    return list(get_files(host, holder.id, f"{HOLDER_ROOT}/{SECRETS}").values()) or None


def salvage_companion(
    host: ContainerEngine,
    store: ObjectStore,
    found: ListedContainer,
    attempt: AttemptKey,
    name: str,
) -> None:
    """Stop the container if it runs, store its log, remove it; with the last, all that is left."""
    if not isinstance(host, ContainerHost):
        return
    if found.status != VOLUME:
        if name not in (HOLDER, PREPARER) and found.status != "created":
            _keep_log(host, store, found, attempt, name)
        host.remove(found.id)
    if not _has_containers(host, attempt):
        _clear(host, attempt)


def _keep_log(
    host: ContainerHost, store: ObjectStore, found: ListedContainer, attempt: AttemptKey, name: str
) -> None:
    host.stop(found.id)
    log = LogWriter(store, log_key(attempt, name))
    Follower(host, log, found.name, held_secrets(host, attempt)).follow(found.id)
    log.flush()


def _has_containers(host: ContainerHost, attempt: AttemptKey) -> bool:
    return any(key_from_labels(one.labels) == attempt for one in host.list_ours())


def _clear(host: ContainerHost, attempt: AttemptKey) -> None:
    """Volumes, those that are a part of another first, and the common limits."""
    left = [one for one in our_volumes(host) if key_from_labels(one.labels) == attempt]
    for volume in sorted(left, key=lambda one: one.name.count("."), reverse=True):
        remove_volume(host, volume.name)
    SecretMemory(host.platform, host.host_id).forget(attempt.container_name())
    limits_of(host).remove(attempt.container_name())
