import stat
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fleetwide.baseos.plans import make_plan
from fleetwide.errors import InstallTimedOut, InvalidInput, LimitExceeded
from fleetwide.models.baseos import OSImageSpec, Target
from fleetwide.providers.customise import Customisation, ScriptFailed, customise
from fleetwide.providers.progress import no_progress
from fleetwide.providers.script_limits import ScriptLimits

pytestmark = pytest.mark.integration
CANARY = "of the builder"


def request(**spec: Any) -> Customisation:
    given = {"name": "tiny", "suite": "bookworm", "variant": "apt", **spec}
    return Customisation(
        plan=make_plan(OSImageSpec.model_validate(given), "1", "os/test"),
        target=Target.CONTAINER,
        sources=[],
        build_key="sha256:" + "5" * 64,
        epoch=1_760_000_000,
    )


def script(text: str) -> dict[str, Any]:
    return {"scripts": [{"name": "trick", "run": text}]}


@pytest.fixture
def outside() -> Iterator[Path]:
    """Folders of the builder with all that a finished image loses.

    Not below /tmp, which is a forgotten folder of its own inside.
    """
    with tempfile.TemporaryDirectory(prefix="fw-canary-", dir="/var/tmp") as folder:
        yield filled(Path(folder))


def filled(folder: Path) -> Path:
    for name in ("etc/ssh", "etc/apt", "log/apt", "home", "lists"):
        (folder / name).mkdir(parents=True)
    for name in (
        "etc/machine-id",
        "etc/passwd-",
        "etc/resolv.conf",
        "etc/hostname",
        "etc/ssh/ssh_host_rsa_key",
        "log/apt/history.log",
        "log/syslog",
        "log/app.log",
        "home/file",
        "lists/index",
    ):
        (folder / name).write_text(CANARY)
    return folder


def contents(folder: Path) -> dict[str, tuple[str, int]]:
    return {
        str(path.relative_to(folder)): (path.read_text(), path.stat().st_mode)
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("way", ["absolute", "upwards"])
def test_links_of_a_script_lead_nobody_out(
    tree: Path, workdir: Path, outside: Path, way: str
) -> None:
    """The finalising step runs after scripts: it must not clean the builder's own folders."""
    before = contents(outside)
    target = str(outside) if way == "absolute" else "/".join([".."] * 30) + str(outside)
    moved = "; ".join(
        f"cp -a {old} /tmp/old; rm -r {old}; mkdir -p {outside}; "
        f"mv /tmp/old {outside}/{new}; ln -s {target}/{new} {old}"
        for old, new in (("/etc", "etc"), ("/var/log", "log"), ("/var/lib/apt/lists", "lists"))
    )
    text = f"{moved}; echo secret > {outside}/log/app.log; echo x > {outside}/log/wtmp"
    customise(request(**script(text)), tree, workdir, no_progress)
    assert contents(outside) == before
    inside = tree / str(outside)[1:]
    assert (inside / "etc/machine-id").read_bytes() == b""
    assert not (inside / "log/app.log").exists()
    assert (inside / "log/wtmp").read_bytes() == b""


def test_files_and_homes_land_inside(tree: Path, workdir: Path, outside: Path) -> None:
    """Links that packages could bring, before anything of the spec is applied."""
    before = contents(outside)
    (tree / "home").rmdir()
    (tree / "home").symlink_to(outside / "home")
    (tree / "opt").rmdir()
    (tree / "opt").symlink_to("../" * 30 + f"{outside}/lists"[1:])
    for name in ("home", "lists"):
        (tree / str(outside)[1:] / name).mkdir(parents=True)
    wanted = request(
        users=[
            {"name": "app", "uid": 1500, "home": "/home/app", "authorized_keys": ["ssh-rsa AAAA"]}
        ],
        files=[
            {"path": "/home/file", "content": "ours"},
            {"path": "/opt/index", "link": "/etc/passwd"},
        ],
    )
    customise(wanted, tree, workdir, no_progress)
    assert contents(outside) == before
    assert not (outside / "home/app").exists()
    inside = tree / str(outside)[1:]
    assert (inside / "home/file").read_text() == "ours"
    assert (inside / "lists/index").readlink() == Path("/etc/passwd")
    keys = inside / "home/app/.ssh/authorized_keys"
    assert keys.read_text() == "ssh-rsa AAAA\n"
    assert (stat.S_IMODE(keys.stat().st_mode), keys.stat().st_uid) == (0o600, 1500)


def test_users_files_and_scripts_leave_their_marks(tree: Path, workdir: Path) -> None:
    wanted = request(
        users=[{"name": "app", "uid": 1500, "groups": ["adm"], "home": "/srv/app"}],
        files=[{"path": "/etc/app.conf", "content": "a", "mode": "0640", "owner": "root:app"}],
        scripts=[{"name": "who", "run": "getent passwd app; id -nG app > /srv/app/groups"}],
    )
    customise(wanted, tree, workdir, no_progress)
    assert (tree / "srv/app/groups").read_text() == "app adm\n"
    info = (tree / "etc/app.conf").stat()
    assert (stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid) == (0o640, 0, 1500)
    release = (tree / "usr/lib/os-release").read_text()
    assert 'IMAGE_ID="tiny"\nIMAGE_VERSION="1"\nBUILD_ID="5555555555555555"\n' in release


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"files": [{"path": "/a", "content": "", "owner": "nobody-knows"}]}, "files.0.owner"),
        ({"files": [{"path": "/etc", "content": ""}]}, "files.0.path"),
        ({"files": [{"path": "/etc/passwd/x", "content": ""}]}, "files.0.path"),
        ({"users": [{"name": "root", "uid": 7000}]}, "users.0.name"),
        ({"users": [{"name": "app", "uid": 1}]}, "users.0.uid"),
        ({"users": [{"name": "app", "uid": 7000, "groups": ["nope"]}]}, "users.0.groups"),
    ],
)
def test_what_does_not_fit_the_tree_is_told_by_field(
    tree: Path, workdir: Path, spec: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        customise(request(**spec), tree, workdir, no_progress)
    assert [fault.field for fault in caught.value.fields] == [field]


def test_a_failing_script_tells_what_it_said(tree: Path, workdir: Path) -> None:
    text = "for n in $(seq 100); do echo line $n; done; echo so far >&2; exit 7"
    with pytest.raises(ScriptFailed, match="script trick ended with exit code 7") as caught:
        customise(request(**script(text)), tree, workdir, no_progress)
    assert caught.value.output == [*(f"line {number}" for number in range(1, 101)), "so far"]
    assert caught.value.message.endswith("line 100\nso far")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("bomb() { bomb | bomb & }; bomb; sleep 100", "script trick may take 60 processes"),
        ("head -c 400000000 /dev/zero | tail -n 1 > /dev/null", "may take 160 MiB of memory"),
        ("dd if=/dev/zero of=/big bs=1M count=400", "may take 64 MiB of disk"),
    ],
)
def test_a_script_that_takes_too_much_is_ended(
    tree: Path, workdir: Path, text: str, told: str
) -> None:
    mib = 1024**2
    limits = ScriptLimits(memory=160 * mib, processes=60, disk=64 * mib)
    with pytest.raises(LimitExceeded, match=told):
        customise(replace(request(**script(text)), limits=limits), tree, workdir, no_progress)


def test_a_script_that_does_not_end_is_ended(tree: Path, workdir: Path) -> None:
    limits = ScriptLimits(seconds=0.5)
    with pytest.raises(InstallTimedOut, match=r"script trick did not end within 0\.5 seconds"):
        customise(
            replace(request(**script("sleep 100")), limits=limits), tree, workdir, no_progress
        )


def test_a_script_stops_at_its_first_failure(tree: Path, workdir: Path) -> None:
    with pytest.raises(ScriptFailed, match=r"UNSET"):
        customise(request(**script("echo $UNSET; touch /srv/later")), tree, workdir, no_progress)
    with pytest.raises(ScriptFailed, match="exit code 1"):
        customise(request(**script("false\ntouch /srv/later")), tree, workdir, no_progress)
    assert not (tree / "srv/later").exists()


def test_scripts_and_files_of_the_other_face_are_left_out(tree: Path, workdir: Path) -> None:
    wanted = request(
        targets=["container", "vm"],
        files=[{"path": "/vm-only", "content": "", "targets": ["vm"]}],
        scripts=[{"name": "vm", "run": "exit 9", "targets": ["vm"]}],
    )
    customise(wanted, tree, workdir, no_progress)
    assert not (tree / "vm-only").exists()
