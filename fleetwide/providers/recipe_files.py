"""The files that a recipe puts beside the artifacts, as entries of a layer."""

import stat
from collections.abc import Sequence
from pathlib import Path

from fleetwide.baseos.accounts import AccountFiles, identifier
from fleetwide.errors import InvalidInput
from fleetwide.models.baseos import FileSpec
from fleetwide.providers.layers import LayerEntry
from fleetwide.providers.payload_entries import folders_to
from fleetwide.providers.root_tree import RootTree

_ACCOUNTS = ("passwd", "shadow", "group", "gshadow")


def recipe_entries(
    files: Sequence[FileSpec], trees: Sequence[Path], folder: Path, epoch: int
) -> list[LayerEntry]:
    """``files`` at the time ``epoch``, their content written to ``folder``, which does not exist.

    Owners are looked up in the account files of the ``trees``, in the first that has any. Raises
    ``InvalidInput`` for one that does not exist.
    """
    folder.mkdir()
    accounts = _accounts(trees)
    entries: dict[str, LayerEntry] = {}
    for number, file in enumerate(files):
        path, source = file.path.lstrip("/"), folder / str(number)
        uid, gid = _owner(file, number, accounts)
        for above in folders_to(path, folder, epoch):
            entries.setdefault(above.path, above)
        entries[path] = LayerEntry(path, source, _write(file, source), uid, gid, epoch)
    return list(entries.values())


def _write(file: FileSpec, source: Path) -> int:
    """Write what the entry holds; answers its mode."""
    if file.link is not None:
        source.symlink_to(file.link)
        return stat.S_IFLNK | 0o777
    source.write_text(file.content or "", newline="")
    return stat.S_IFREG | int(file.mode, 8)


def _owner(file: FileSpec, number: int, accounts: AccountFiles) -> tuple[int, int]:
    if file.owner == "root:root":
        return 0, 0
    try:
        return identifier(accounts, file.owner)
    except KeyError as error:
        raise InvalidInput.for_field(
            f"files.{number}.owner",
            f"is no account of the base, which the recipe's {file.path} needs",
            given=file.owner,
        ) from error


def _accounts(trees: Sequence[Path]) -> AccountFiles:
    return AccountFiles(*(_text(f"/etc/{name}", trees) for name in _ACCOUNTS))


def _text(path: str, trees: Sequence[Path]) -> str:
    for tree in trees:
        if tree.is_dir():
            with RootTree(tree) as files:
                found = files.read(path)
            if found is not None:
                return found.decode(errors="surrogateescape")
    return ""
