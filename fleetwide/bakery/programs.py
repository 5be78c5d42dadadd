"""Find the program that an image starts, as the kernel and an engine would, in a tree of facts."""

import posixpath
import re
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from fleetwide.bakery.container_users import ContainerUser
from fleetwide.bakery.oci_runtime import SEARCH_PATH

MAX_LINKS = 40
"""As many symbolic links as Linux follows."""
_SHEBANG = re.compile(rb"#![ \t]*([^ \t\r\n]+)(?:[ \t]+-S)?[ \t]*([^ \t\r\n]*)")


@dataclass(frozen=True)
class Node:
    """One thing in the image's tree; ``link`` is a symbolic link's target."""

    mode: int
    uid: int = 0
    gid: int = 0
    link: str = ""


Look = Callable[[str], Node | None]
"""What lies at a path (relative, no link followed); None when there is nothing."""


@dataclass(frozen=True)
class Program:
    """What the first word of an image's command comes to."""

    word: str
    path: str = ""
    """Where it was found, links followed; empty when it is not there."""
    missing_interpreter: str = ""
    """Of a script: what its first line names and the image does not have."""
    obstacle: str = ""
    """Why the user may not run it; empty when it may."""


def resolved(path: str, look: Look) -> str | None:
    """The path (relative to the root) with every link followed; None when it leads nowhere."""
    waiting = [part for part in path.split("/") if part not in ("", ".")][::-1]
    done: list[str] = []
    links = 0
    while waiting:
        part = waiting.pop()
        if part in ("", "."):
            continue
        if part == "..":
            del done[-1:]
            continue
        node = look("/".join([*done, part]))
        if node is None:
            return None
        if not stat.S_ISLNK(node.mode):
            if waiting and not stat.S_ISDIR(node.mode):
                return None
            done.append(part)
            continue
        links += 1
        if links > MAX_LINKS:
            return None
        done = [] if node.link.startswith("/") else done
        waiting += node.link.split("/")[::-1]
    return "/".join(done)


def candidates(word: str, workdir: str, env: Mapping[str, str]) -> list[str]:
    """Where a command's first word is looked for, in order; absolute paths."""
    if "/" in word:
        return [posixpath.join(workdir, word)]
    folders = env.get("PATH", SEARCH_PATH).split(":")
    return [posixpath.join(workdir, folder, word) for folder in folders]


def find_file(paths: Sequence[str], look: Look) -> str | None:
    """The first of the paths at which a regular file lies, links followed."""
    for path in paths:
        found = resolved(path, look)
        node = look(found) if found else None
        if found and node and stat.S_ISREG(node.mode):
            return found
    return None


def interpreters(start: bytes) -> list[str]:
    """What the first line of a script names, and what ``env`` then looks for; else nothing."""
    match = _SHEBANG.match(start)
    if match is None:
        return []
    program, argument = (word.decode(errors="replace") for word in match.groups())
    looked_for = posixpath.basename(program) == "env" and argument and argument[0] != "-"
    return [program, argument] if looked_for else [program]


def obstacle(path: str, user: ContainerUser, look: Look, *, script: bool) -> str:
    """What keeps the user from running the file at ``path`` (resolved); empty for nothing."""
    parts = path.split("/")
    for depth in range(1, len(parts)):
        folder = "/".join(parts[:depth])
        if not _may(look(folder), user, stat.S_IXOTH):
            return f"may not enter /{folder}"
    if not _may(look(path), user, stat.S_IXOTH):
        return f"may not execute /{path}"
    if script and not _may(look(path), user, stat.S_IROTH):
        return f"may not read /{path}, which is a script"
    return ""


def _may(node: Node | None, user: ContainerUser, bit: int) -> bool:
    """Whether the permission ``bit`` (of others) is the user's, as the kernel decides."""
    if node is None:
        return False
    if user.uid == 0:
        return stat.S_ISDIR(node.mode) or bit != stat.S_IXOTH or bool(node.mode & 0o111)
    if node.uid == user.uid:
        return bool(node.mode & bit << 6)
    if node.gid in (user.gid, *user.groups):
        return bool(node.mode & bit << 3)
    return bool(node.mode & bit)
