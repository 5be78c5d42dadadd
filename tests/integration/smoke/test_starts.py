"""Images that start: how, as whom, and what they find."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from tests.integration.smoke.conftest import Bench, Content, write_layer

# The base is built once, which takes several times longer on busy cores.
pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]


def test_a_workload_that_ends_with_0_passes(bench: Bench) -> None:
    bench.files = {"opt/hello/run": "#!/bin/sh\necho hello\n"}
    report = bench.test(command=["/opt/hello/run"])
    assert (report.passed, report.how, report.exit_code) == (True, "it ended with exit code 0", 0)
    assert report.last_lines == ["hello"]
    assert bench.written == b"hello\n"


def test_a_workload_that_keeps_running_passes_and_is_asked_to_end(bench: Bench) -> None:
    report = bench.shell("trap 'echo ending; exit' TERM; echo up; while :; do sleep 0.1; done")
    assert report.how == "it ran for 3 s"
    assert report.last_lines == ["up", "ending"]


def test_a_workload_that_does_not_end_when_asked_is_ended(bench: Bench) -> None:
    report = bench.shell("trap '' TERM; while :; do sleep 1; done", init=True)
    assert report.how == "it ran for 3 s"


def test_an_image_without_anything_to_start_passes_and_says_so(bench: Bench) -> None:
    report = bench.test()
    assert report.passed
    assert report.how == "not run: there is neither an entry point nor a command to start"


def test_the_image_s_own_check_is_started_in_place_of_the_workload(bench: Bench) -> None:
    report = bench.test(command=["false"], smoke={"command": ["sh", "-c", "echo checked"]})
    assert report.how == "its own check ended with exit code 0"
    assert report.last_lines == ["checked"]


def test_an_entry_point_gets_the_command_as_its_arguments(bench: Bench) -> None:
    report = bench.test(entrypoint=["echo", "one"], command=["two"])
    assert report.last_lines == ["one two"]


def test_an_init_comes_first_and_passes_the_end_on(bench: Bench) -> None:
    report = bench.shell(
        "trap 'echo ending; exit' TERM; read -r name < /proc/1/comm; echo $name;"
        "while :; do sleep 0.1; done",
        init=True,
    )
    assert report.last_lines == ["tini", "ending"]


def test_a_named_user_is_that_of_the_merged_image(bench: Bench) -> None:
    bench.files = {
        "etc/passwd": "root:x:0:0::/root:/bin/sh\nlate:x:1700:1701::/srv/late:/bin/sh\n",
        "etc/group": "root:x:0:\nlate:x:1701:\nadm:x:4:late\n",
    }
    report = bench.shell("id -u; id -g; id -G; echo $HOME; pwd", user="late", workdir="/srv/work")
    assert report.last_lines == ["1700", "1701", "1701 4", "/srv/late", "/srv/work"]


def test_the_workload_has_no_rights_no_network_and_its_own_loopback(bench: Bench) -> None:
    report = bench.shell(
        "grep -E 'CapBnd|CapEff|NoNewPrivs' /proc/self/status | tr -d '\\t';"
        "ls /sys/class/net; cat /sys/class/net/lo/flags; hostname; ls /proc | grep -c '^[0-9]'",
        user="0",
    )
    assert report.last_lines[:6] == [
        "CapEff:0000000000000000",
        "CapBnd:0000000000000000",
        "NoNewPrivs:1",
        "lo",
        "0x9",
        "smoke",
    ]
    assert int(report.last_lines[6]) < 10


def test_a_server_on_a_low_port_can_be_reached_by_the_health_check(bench: Bench) -> None:
    bench.files = {
        "opt/serve": "#!/usr/bin/perl\nuse Socket; socket(S, PF_INET, SOCK_STREAM, 0);"
        "bind(S, sockaddr_in(80, inet_aton('localhost'))) or die $!; listen(S, 5);"
        "while (accept(C, S)) { print C 'well'; close C }\n",
        "opt/ask": "#!/usr/bin/perl\nuse Socket; socket(S, PF_INET, SOCK_STREAM, 0);"
        "connect(S, sockaddr_in(80, inet_aton('localhost'))) or die $!; print <S>;\n",
    }
    report = bench.test(command=["/opt/serve"], healthcheck={"command": ["/opt/ask"]})
    assert report.how.startswith("its health check passed after ")


def test_a_health_check_may_fail_while_the_workload_starts(bench: Bench) -> None:
    report = bench.shell(
        "sleep 1; touch /tmp/well; sleep 100",
        healthcheck={"command": ["test", "-e", "/tmp/well"], "retries": 1},
    )
    assert report.how in {f"its health check passed after {tries} tries" for tries in (2, 3, 4)}


def test_the_health_check_runs_as_the_workload_s_user_in_its_environment(bench: Bench) -> None:
    bench.env = {"MODE": "test"}
    check = '[ "$(id -un):$MODE:$PWD" = app:test:/srv ]'
    report = bench.shell(
        "exec sleep 100", user="app", workdir="/srv", healthcheck={"command": ["sh", "-c", check]}
    )
    assert report.how == "its health check passed after 1 try"


def test_the_root_is_read_only_but_volumes_tmp_and_run_are_not(bench: Bench) -> None:
    bench.files = {"data/seed": "there\n"}
    report = bench.shell(
        "for place in /tmp /run /data /var/lib/new; do echo x > $place/x || exit 1; done;"
        "cat /data/seed; ! echo x > /srv/x",
        volumes=["/data", "/var/lib/new"],
    )
    assert report.last_lines[0] == "there"
    assert "Read-only file system" in report.last_lines[1]


def test_what_a_writable_root_takes_is_forgotten(bench: Bench, base: Path) -> None:
    for _ in range(2):
        report = bench.shell(
            "[ ! -e /srv/x ] && echo x > /srv/x", user="0", smoke={"writable": True}
        )
        assert report.passed
    assert not (base / "srv/x").exists()


def test_output_can_be_written_by_name(bench: Bench) -> None:
    report = bench.shell("echo out > /dev/stdout; echo err > /dev/stderr")
    assert report.last_lines == ["out", "err"]


def test_whiteouts_hide_the_base_and_opaque_folders_replace_it(bench: Bench) -> None:
    bench.files = {
        "etc/.wh.issue": "",
        "usr/share/base-files/.wh..wh..opq": "",
        "usr/share/base-files/new": "new",
        "usr/share/.wh.common-licenses": "",
        "usr/share/common-licenses": None,
        "usr/share/common-licenses/own": "own",
        "opt/.wh.": "kept",
        "opt/.wh.folder": None,
    }
    report = bench.shell(
        "ls /etc/issue; ls /usr/share/base-files /usr/share/common-licenses; ls -a /opt; true"
    )
    assert report.last_lines == [
        "ls: cannot access '/etc/issue': No such file or directory",
        "/usr/share/base-files:",
        "new",
        "/usr/share/common-licenses:",
        "own",
        *(".", "..", ".wh.", ".wh.folder"),
    ]


def test_an_image_for_other_machines_is_not_run_and_passes(bench: Bench) -> None:
    request = bench.request(command=["/bin/true"])
    foreign = request.bake.base.model_copy(update={"architecture": "arm64"})
    bake = request.bake.model_copy(update={"base": foreign})
    report = bench.run(replace(request, bake=bake))
    assert report.passed
    assert report.how == f"not run: built for arm64, this builder is {os.uname().machine}"


def test_it_works_without_control_groups(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fleetwide.providers.cgroups.MOUNT", bench.folder / "none")
    assert bench.shell("exit 0").passed


def test_many_at_once_share_a_base(base: Path, tmp_path: Path) -> None:
    def one(number: int) -> list[str]:
        folder = tmp_path / str(number)
        folder.mkdir()
        return Bench(base, folder).shell(f"echo {number}").last_lines

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(one, range(16))) == [[str(number)] for number in range(16)]


def test_a_packed_layer_is_as_good(bench: Bench) -> None:
    files: dict[str, Content] = {"opt/run": "#!/bin/sh\necho packed\n"}
    layer = write_layer(bench.folder / "layer.tar.gz", files, packed=True)
    request = replace(bench.request(command=["/opt/run"]), layer=layer)
    assert bench.run(request).last_lines == ["packed"]
