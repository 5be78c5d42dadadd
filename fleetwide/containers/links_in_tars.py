"""Which links of a folder may go into a tar that somebody unpacks who trusts it."""


def stays_inside(folder: str, target: str) -> bool:
    """Whether a symbolic link in ``folder`` (relative to the tar's root) leads nowhere outside.

    The folders above a link are folders and no links, so climbing is exact; what comes after goes
    down, through links at most that stay inside themselves. A ``..`` behind a name is refused:
    the name may be a link, and nobody can say where up is from there.
    """
    if not target or target.startswith("/"):
        return False
    parts = [part for part in target.split("/") if part not in ("", ".")]
    climbed = 0
    while climbed < len(parts) and parts[climbed] == "..":
        climbed += 1
    depth = len([part for part in folder.split("/") if part])
    return climbed <= depth and ".." not in parts[climbed:]
