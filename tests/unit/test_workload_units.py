from typing import Any

import pytest

from fleetwide.bakery.workload_units import has_unit, unit_name, workload_unit
from fleetwide.errors import InvalidInput
from tests.unit.bakes import resolved


def lines_of(**changes: Any) -> list[str]:
    return workload_unit(resolved(**changes), {}).splitlines()


def test_the_unit_runs_the_command_as_the_user_in_the_folder_with_the_machine() -> None:
    bake = resolved(
        entrypoint=["/opt/hello/run"],
        command=["--port", "80"],
        user="app:www",
        workdir="/srv/app",
        env={"B": "2"},
    )
    text = workload_unit(bake, {"TZ": "UTC", "B": "1"})
    assert text == (
        "[Unit]\n"
        "Description=hello 1.0.0\n"
        "After=network.target cloud-init.service\n"
        "\n"
        "[Service]\n"
        "Type=exec\n"
        "User=app\n"
        "Group=www\n"
        "WorkingDirectory=/srv/app\n"
        "Environment=B=2\n"
        "Environment=TZ=UTC\n"
        "ExecStart=:/opt/hello/run --port 80\n"
        "Restart=on-failure\n"
        "RestartSec=5\n"
        "NoNewPrivileges=yes\n"
        "\n"
        "[Install]\n"
        "WantedBy=multi-user.target\n"
    )
    assert unit_name(bake) == "hello.service"


def test_a_bake_without_a_command_has_no_unit() -> None:
    assert has_unit(resolved())
    assert not has_unit(resolved(command=[]))


def test_a_user_without_a_group_gets_that_of_the_account() -> None:
    assert not [line for line in lines_of(user="app") if line.startswith("Group=")]


def test_signs_of_systemd_stand_for_themselves() -> None:
    [start] = [
        line
        for line in lines_of(command=["/run", "100%", "$HOME", 'a "b" \\', ";", "x\ny\x01", ""])
        if line.startswith("ExecStart=")
    ]
    assert start == r'ExecStart=:/run "100%%" "$HOME" "a \"b\" \\" ";" "x\ny\x01" ""'


def test_a_value_cannot_add_a_line_to_the_unit() -> None:
    lines = lines_of(env={"A": "1\nUser=root"}, workdir="/x\\")
    assert [line for line in lines if line.startswith("User=")] == ["User=65534"]
    assert r'Environment="A=1\nUser=root"' in lines
    assert "WorkingDirectory=/x\\/" in lines


@pytest.mark.parametrize("word", ["+/bin/sh", "!/bin/sh", "-/bin/sh", "@/bin/sh", ""])
def test_a_sign_before_the_program_cannot_make_it_roots(word: str) -> None:
    with pytest.raises(InvalidInput, match="entrypoint: must begin with"):
        workload_unit(resolved(entrypoint=[word]), {})


def test_volumes_are_made_for_the_user_before_the_start() -> None:
    lines = lines_of(volumes=["/var/lib/hello", "/data dir"], user="app:www")
    assert [line for line in lines if line.startswith("ExecStartPre=")] == [
        'ExecStartPre=+:/usr/bin/install -d -o app -g www "/data dir"',
        "ExecStartPre=+:/usr/bin/install -d -o app -g www /var/lib/hello",
    ]
