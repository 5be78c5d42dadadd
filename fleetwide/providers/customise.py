"""From a bootstrapped tree to an image's tree: files, users, units, scripts, and no traces.

Every change goes through ``RootTree`` or runs confined in the tree, so that nothing in a spec can
reach the builder's own files.
"""

from dataclasses import dataclass, field
from pathlib import Path

from fleetwide.baseos import image_files
from fleetwide.baseos.accounts import AccountFiles, add_users, identifier
from fleetwide.baseos.bootstrap import trim_config
from fleetwide.baseos.smoke import smoke_script, smoke_unit
from fleetwide.errors import BuildFailed, InvalidInput
from fleetwide.models.baseos import BuildPlan, FileSpec, ScriptSpec, Target, UnitSpec, UserSpec
from fleetwide.models.os_locks import LockedSource
from fleetwide.providers.progress import Progress
from fleetwide.providers.root_tree import RootTree
from fleetwide.providers.rooted import ENVIRONMENT, confined, run_rooted
from fleetwide.providers.sandbox import run_isolated
from fleetwide.providers.script_limits import ScriptLimits, bounded

TOLD_LINES = 12
ACCOUNTS = ("passwd", "shadow", "group", "gshadow")
SCRIPT_PLACE = "tmp/fleetwide"


@dataclass(frozen=True)
class Customisation:
    """What decides about an image beside its packages."""

    plan: BuildPlan
    target: Target
    sources: list[LockedSource]
    build_key: str
    epoch: int
    limits: ScriptLimits = field(default_factory=ScriptLimits)
    """What each script may take."""


class ScriptFailed(BuildFailed):
    """A script of the spec ended otherwise than with exit code 0; ``output`` is what it wrote."""

    def __init__(self, message: str, output: list[str]) -> None:
        super().__init__(message)
        self.output = output


def customise(request: Customisation, tree: Path, workdir: Path, progress: Progress) -> None:
    """Apply the spec to ``tree``, then take away what no two machines may share.

    Raises:
        InvalidInput: an owner, a group or a unit does not exist.
        ScriptFailed: a script failed; the tree is as it left it.
        InstallTimedOut, LimitExceeded: a script took more than it may.
    """
    spec = request.plan.spec
    with RootTree(tree) as files:
        _identify(request, files)
        _add_accounts(spec.users, files, request.epoch)
        if request.target is Target.VM:
            _make_vm(request, files)
        for number, file in enumerate(spec.files):
            if request.target in file.targets:
                _add_file(file, f"files.{number}", files)
    if request.target is Target.VM:
        _set_units(spec.units, tree, progress)
    for script in spec.scripts:
        if request.target in script.targets:
            _run_script(script, request.limits, tree, workdir, progress)
    try:
        with RootTree(tree) as files:
            _finalise(request, files)
    except OSError as error:
        raise BuildFailed(
            f"a script left {error.filename or 'a folder'} behind as something else: "
            f"{error.strerror}"
        ) from error


def _identify(request: Customisation, files: RootTree) -> None:
    spec = request.plan.spec
    files.append("/usr/lib/os-release", image_files.os_release(request.plan, request.build_key))
    if files.names("/etc/apt"):
        text = image_files.sources_list(request.sources, files.exists)
        files.write("/etc/apt/sources.list", text.encode())
    if request.target is Target.CONTAINER and spec.trim:
        files.write(image_files.TRIM_CONFIG, trim_config(list(spec.trim)).encode())


def _accounts(files: RootTree) -> AccountFiles:
    return AccountFiles(*(files.text(f"/etc/{name}") for name in ACCOUNTS))


def _add_accounts(users: list[UserSpec], files: RootTree, epoch: int) -> None:
    before = _accounts(files)
    after = add_users(before, users, epoch)
    for name in ACCOUNTS:
        added = getattr(after, name)
        if added != getattr(before, name):
            files.rewrite(f"/etc/{name}", added.encode(errors="surrogateescape"))
    for user in users:
        if user.home is not None:
            files.make_folder(user.home, mode=0o750, uid=user.uid, gid=user.uid)
        if user.authorized_keys:
            ssh = f"{user.home}/.ssh"
            files.make_folder(ssh, mode=0o700, uid=user.uid, gid=user.uid)
            text = "".join(f"{key}\n" for key in user.authorized_keys)
            keys = f"{ssh}/authorized_keys"
            files.write(keys, text.encode(), mode=0o600, uid=user.uid, gid=user.uid)


def _make_vm(request: Customisation, files: RootTree) -> None:
    for path, text in image_files.VM_FILES.items():
        files.write(path, text.encode())
    script = smoke_script()
    files.write(script.path, (script.content or "").encode(), mode=int(script.mode, 8))
    sysctls = request.plan.spec.sysctls
    if sysctls:
        conf = image_files.sysctl_conf(sysctls)
        files.write("/etc/sysctl.d/90-fleetwide.conf", conf.encode())
    for unit in (smoke_unit(), *request.plan.spec.units):
        if unit.content is not None:
            files.write(f"/etc/systemd/system/{unit.name}", unit.content.encode())


def _add_file(file: FileSpec, field: str, files: RootTree) -> None:
    try:
        uid, gid = identifier(_accounts(files), file.owner)
    except KeyError as error:
        raise InvalidInput.for_field(
            f"{field}.owner", "is no account of the image", given=file.owner
        ) from error
    try:
        if file.link is not None:
            files.link(file.path, file.link)
        else:
            content = (file.content or "").encode()
            files.write(file.path, content, mode=int(file.mode, 8), uid=uid, gid=gid)
    except OSError as error:
        raise InvalidInput.for_field(
            f"{field}.path", f"cannot be written: {error.strerror}", given=file.path
        ) from error


def _set_units(units: list[UnitSpec], tree: Path, progress: Progress) -> None:
    with RootTree(tree) as files:
        folders = ("/usr/lib/systemd/system", "/lib/systemd/system", "/etc/systemd/system")
        known = {name for folder in folders for name in files.names(folder)}
    ours = [
        smoke_unit().name,
        *image_files.VM_UNITS,
        *(set(image_files.VM_UNITS_WHERE_THEY_EXIST) & known),
    ]
    verbs = [("enable", name) for name in sorted(ours)]
    for number, unit in enumerate(units):
        if unit.content is None and not unit.masked and not _is_known(unit.name, known):
            raise InvalidInput.for_field(
                f"units.{number}.name", "no package brings this unit", given=unit.name
            )
        verbs.append(
            ("mask" if unit.masked else "enable" if unit.enabled else "disable", unit.name)
        )
    for verb, name in verbs:
        done = run_rooted(tree, ["systemctl", verb, name], progress=progress)
        if done.returncode != 0:
            raise BuildFailed(f"systemctl {verb} {name} failed: {' '.join(done.lines[-3:])}")


def _is_known(name: str, known: set[str]) -> bool:
    """Also an instance of a template: ``getty@tty2.service`` of ``getty@.service``."""
    stem, at, rest = name.partition("@")
    return name in known or (bool(at) and f"{stem}@.{rest.rpartition('.')[2]}" in known)


def _run_script(
    script: ScriptSpec, limits: ScriptLimits, tree: Path, workdir: Path, progress: Progress
) -> None:
    name, folder = script.name, workdir / "script"
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(script.run)
    command = ["/bin/sh", "-eu", f"/{SCRIPT_PLACE}/{name}"]

    def told(phrase: str, _fraction: float | None) -> None:
        progress(f"script {name}: {phrase}"[:120], None)

    with bounded(limits, f"script {name}", tree, told) as bounds:
        done = run_isolated(
            bounds.command(confined(tree, command, {SCRIPT_PLACE: folder}, {})),
            env=ENVIRONMENT,
            progress=bounds.progress,
            read=lambda line: (line, None),
            network=False,
        )
    (folder / name).unlink()
    if done.returncode != 0:
        words = "\n".join(done.lines[-TOLD_LINES:])
        raise ScriptFailed(
            f"script {name} ended with exit code {done.returncode}:\n{words}", done.lines
        )


def _finalise(request: Customisation, files: RootTree) -> None:
    for path in image_files.REMOVED:
        files.remove(path)
    for folder, start, end in image_files.REMOVED_NAMES:
        for name in files.names(folder):
            if name.startswith(start) and name.endswith(end):
                files.remove(f"{folder}/{name}")
    for folder in image_files.EMPTIED_FOLDERS:
        for path in list(files.files(folder)):
            files.remove(path)
    for path in files.files("/var/log"):
        files.truncate(path)
    files.write("/etc/machine-id", b"", mode=0o444)
    if request.target is Target.VM:
        files.write("/etc/hostname", image_files.VM_FILES["/etc/hostname"].encode())
        if files.exists("/lib/systemd/systemd-resolved"):
            files.link("/etc/resolv.conf", image_files.RESOLVER)
