"""What a smoke test starts, as whom, and what the outcome means."""

from typing import Any

import pytest

from fleetwide.bakery.container_users import Accounts, ContainerUser, container_user
from fleetwide.bakery.oci_runtime import StartedAs, oci_config, oci_process, scratch_places
from fleetwide.bakery.smoke import (
    Ending,
    HealthTally,
    explain_ending,
    explain_refusal,
    failure,
    is_fault_of_image,
    reason_not_to_run,
    words_of,
)
from fleetwide.errors import SmokeTestFailed
from fleetwide.models.bakery import HealthCheck
from tests.unit.bakes import BASE, bake_spec, resolved

ACCOUNTS = Accounts(
    passwd="root:x:0:0:root:/root:/bin/sh\napp:x:1500:1501::/srv/app:/bin/sh\n7:x:70:70::/:/bin/sh\n"
    "broken\nhuge:x:99999999999:1::/:\nword:x:one:1::/:\n",
    group="root:x:0:\napp:x:1501:\nadm:x:4:root,app\nwww:x:33:app\nodd:x:many:app\n",
)
NOBODY = ContainerUser(65534, 65534, home="/nonexistent")


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ("app", ContainerUser(1500, 1501, [4, 33], "/srv/app")),
        ("1500", ContainerUser(1500, 1501, [4, 33], "/srv/app")),
        ("app:www", ContainerUser(1500, 33, (), "/srv/app")),
        ("app:7777", ContainerUser(1500, 7777, (), "/srv/app")),
        ("4000", ContainerUser(4000, 0, (), "/")),
        ("4000:adm", ContainerUser(4000, 4, (), "/")),
        ("7", ContainerUser(70, 70, [], "/")),
    ],
)
def test_a_user_is_looked_up_as_container_engines_do(user: str, expected: ContainerUser) -> None:
    assert container_user(user, ACCOUNTS) == expected


@pytest.mark.parametrize(
    "user", ["bob", "app:staff", "word", "huge", "99999999999", "0:4294967295"]
)
def test_a_user_that_the_image_has_not_got_is_told(user: str) -> None:
    with pytest.raises(SmokeTestFailed, match=r"the image has no (user|group)") as told:
        container_user(user, ACCOUNTS)
    assert "65534:65534" in (told.value.hint or "")


def test_a_container_has_no_capability_no_network_and_a_root_that_cannot_be_written() -> None:
    process = oci_process(["run"], StartedAs(NOBODY, {}, "/srv"))
    config = oci_config(bake_spec(), process, "/merged", "/hosts")
    assert config["root"] == {"path": "/merged", "readonly": True}
    assert {one["type"] for one in config["linux"]["namespaces"]} >= {"network", "pid", "mount"}
    assert all(value == [] for value in config["process"]["capabilities"].values())
    assert config["process"]["noNewPrivileges"] is True
    assert "/proc/kcore" in config["linux"]["maskedPaths"]


def test_volumes_and_the_usual_places_can_be_written_and_inner_ones_come_last() -> None:
    assert scratch_places(["/var/lib/app/cache", "/tmp", "/var/lib/app"]) == [
        "/run",
        "/tmp",
        "/var/lib/app",
        "/var/lib/app/cache",
    ]
    spec = bake_spec(volumes=["/data"], smoke={"writable": True})
    config = oci_config(spec, {}, "/merged", "/hosts")
    assert config["root"]["readonly"] is False
    data = next(one for one in config["mounts"] if one["destination"] == "/data")
    assert data["type"] == "tmpfs"
    assert "tmpcopyup" in data["options"]


def test_the_environment_is_the_image_s_over_what_an_engine_sets() -> None:
    started = StartedAs(NOBODY, {"HOME": "/srv", "A": "b=c"}, "/")
    env = oci_process(["run"], started)["env"]
    assert sorted(one for one in env if not one.startswith("PATH=")) == [
        "A=b=c",
        "HOME=/srv",
        "HOSTNAME=smoke",
    ]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"entrypoint": ["/opt/run"], "command": ["--serve"]}, ["/opt/run", "--serve"]),
        ({"command": ["run"], "init": True}, ["/usr/bin/tini", "--", "run"]),
        ({"command": ["run"], "init": True, "smoke": {"command": ["check"]}}, ["check"]),
        ({"command": [], "init": True}, []),
    ],
)
def test_what_is_started(changes: dict[str, Any], words: list[str]) -> None:
    assert words_of(bake_spec(**changes)) == words


def test_what_cannot_be_started_here_is_not_run_and_that_is_said() -> None:
    foreign = resolved(BASE.model_copy(update={"architecture": "arm64"}))
    assert reason_not_to_run(foreign, "x86_64") == (
        "not run: built for arm64, this builder is x86_64"
    )
    assert reason_not_to_run(foreign, "aarch64") is None
    nothing = reason_not_to_run(resolved(command=[]), "x86_64")
    assert nothing == "not run: there is neither an entry point nor a command to start"
    assert reason_not_to_run(resolved(smoke={"enabled": False}), "x86_64") == (
        "not run: switched off"
    )
    assert reason_not_to_run(resolved(), "x86_64") is None


@pytest.mark.parametrize(
    ("ending", "told"),
    [
        (Ending(3, ["bad"]), "it ended with exit code 3\nits last lines:\nbad"),
        (Ending(139, []), r"it was ended by SIGSEGV \(exit code 139\)\nit wrote nothing"),
        (Ending(255, []), "it ended with exit code 255"),
        (Ending(137, [], out_of_memory=True), "it needed more than 2048 MiB of memory"),
        (
            Ending(127, ["app: error while loading shared libraries: libx.so.1: cannot open"]),
            "it ended with exit code 127: a shared library is missing",
        ),
        (
            Ending(1, ["exec container process `/opt/hello/run`: Exec format error"]),
            "/opt/hello/run cannot be started: it is neither a program for this machine nor",
        ),
    ],
)
def test_an_ending_is_explained(ending: Ending, told: str) -> None:
    with pytest.raises(SmokeTestFailed, match=told) as error:
        raise explain_ending(bake_spec(), ending)
    assert error.value.hint


def test_a_write_to_a_read_only_root_is_told_with_what_helps() -> None:
    lines = ["sh: 1: cannot create /x: Read-only file system"]
    assert "smoke: {writable: true}" in (failure(bake_spec(), "it ended", lines).hint or "")
    writable = bake_spec(smoke={"writable": True})
    assert "--no-smoke" in (failure(writable, "it ended", lines).hint or "")


@pytest.mark.parametrize(
    ("complaint", "is_fault"),
    [
        ("executable file `/opt/hello/run` not found in $PATH: No such file or directory", True),
        ("open executable: Permission denied", True),
        ("chdir `/srv/none`: Not a directory", True),
        ("mount `tmpfs` to `data/a`: Not a directory", True),
        ("mkdir `/data`: Not a directory", True),
        ("write: No space left on device", True),
        ("mount `shm` to `dev/shm`: Cannot allocate memory", False),
        ("clone: Cannot allocate memory", False),
        ("mount `proc` to `proc`: Operation not permitted", False),
    ],
)
def test_what_the_image_is_to_blame_for_is_told_from_what_the_builder_is(
    complaint: str, *, is_fault: bool
) -> None:
    spec = bake_spec(workdir="/srv/none", volumes=["/data/a"])
    assert is_fault_of_image(spec, complaint) is is_fault


def test_a_container_that_cannot_be_made_says_where_to_look() -> None:
    told = explain_refusal(bake_spec(workdir="/x"), "chdir `/x`: Not a directory")
    assert "no container can be made of it: chdir `/x`: Not a directory" in told.message
    assert "`workdir`" in (told.hint or "")
    missing = explain_refusal(bake_spec(), "executable file `/opt/hello/run` not found in $PATH")
    assert "/opt/hello/run cannot be started: it is not in the image" in missing.message


def test_failures_of_the_start_period_do_not_count_but_are_tried_often() -> None:
    check = HealthCheck(command=["well"], interval_seconds=30, retries=2, start_period_seconds=10)
    tally = HealthTally(check, started=100.0)
    assert 100.0 < tally.next_try < 101.0
    tally.tries = 3
    tally.note_failure(105.0, "not yet")
    assert (tally.failures, tally.next_try) == (0, 106.0)
    assert "did not pass in time, after 3 tries; it said: not yet" in tally.explain()
    tally.note_failure(110.0, "")
    assert (tally.failures, tally.next_try) == (1, 140.0)
    tally.note_failure(140.0, "")
    assert tally.is_unhealthy
    assert tally.explain() == "its health check `well` failed 2 times in a row"
