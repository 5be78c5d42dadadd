"""Volumes of the Engine, and files put into containers that do not run yet."""

import io
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from docker.errors import APIError

from fleetwide.containers.launch import HOST_LABEL, PLATFORM_LABEL
from fleetwide.errors import Conflict, DockerUnavailable, NotFound
from fleetwide.providers.docker import ContainerHost

OPEN_FOLDER = 0o1777
READABLE_FILE = 0o444
MAX_ARCHIVE = 16 * 1024**2


@dataclass(frozen=True)
class ListedVolume:
    """One volume of a listing."""

    name: str
    labels: dict[str, str]


def make_volume(host: ContainerHost, request: Mapping[str, Any]) -> str:
    """Make a volume, or find the one of that name; answers where it lies on the host."""
    with host.engine(f"make volume {request['name']}") as api:
        made: dict[str, Any] = api.create_volume(**request)
    return str(made["Mountpoint"])


def remove_volume(host: ContainerHost, name: str) -> None:
    """Remove a volume that nothing uses; a missing one counts as removed.

    Raises ``DockerUnavailable`` while a container uses it.
    """
    try:
        with host.engine(f"remove volume {name}") as api:
            api.remove_volume(name)
    except NotFound:
        return
    except Conflict as error:
        raise DockerUnavailable(error.message) from error


def our_volumes(host: ContainerHost) -> list[ListedVolume]:
    """This platform's volumes on this host."""
    wanted = [f"{PLATFORM_LABEL}={host.platform}", f"{HOST_LABEL}={host.host_id}"]
    with host.engine("list volumes") as api:
        found = api.volumes(filters={"label": wanted})["Volumes"] or []
    return [ListedVolume(item["Name"], item["Labels"] or {}) for item in found]


def put_folders(host: ContainerHost, container: str, path: str, names: Iterable[str]) -> None:
    """Make folders below a path of a container; everybody may write to them."""
    members = []
    for name in names:
        member = tarfile.TarInfo(name)
        member.type, member.mode = tarfile.DIRTYPE, OPEN_FOLDER
        members.append((member, b""))
    _put(host, container, path, members)


def put_files(host: ContainerHost, container: str, path: str, files: Mapping[str, bytes]) -> None:
    """Put files into a folder of a container; everybody may read them."""
    members = []
    for name, data in files.items():
        member = tarfile.TarInfo(name)
        member.size, member.mode = len(data), READABLE_FILE
        members.append((member, data))
    _put(host, container, path, members)


def get_files(host: ContainerHost, container: str, path: str) -> dict[str, bytes]:
    """The files of a folder of a container, without those below it; empty when it is not there."""
    try:
        with host.engine(f"read {path} of {container}") as api:
            pieces, _ = api.get_archive(container, f"{path}/.")
            packed = b"".join(pieces)
    except NotFound:
        return {}
    found = {}
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        for member in archive:
            data = archive.extractfile(member) if member.isfile() else None
            if data is not None:
                found[member.name.rpartition("/")[2]] = data.read(MAX_ARCHIVE)
    return found


def _put(
    host: ContainerHost, container: str, path: str, members: Iterable[tuple[tarfile.TarInfo, bytes]]
) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for member, data in members:
            archive.addfile(member, io.BytesIO(data))
    with host.engine(f"put files into {container}") as api:
        try:
            api.put_archive(container, path, buffer.getvalue())
        except APIError as error:
            # Whatever it complains of, it is not the user's fault: the words are ours.
            if error.status_code in (HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT):
                raise
            raise DockerUnavailable(f"Docker could not put files into {container}") from error
