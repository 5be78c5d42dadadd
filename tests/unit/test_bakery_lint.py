"""Each rule of the bakery policy: what breaks it, what does not, and what the finding says."""

import stat
from typing import Any

import pytest

from fleetwide.bakery.lint_subject import MAX_FOUND, Leak
from fleetwide.bakery.programs import Program
from fleetwide.models.bakes import Severity
from fleetwide.models.policy import Rule
from tests.unit.bakes import BASE
from tests.unit.lint_subjects import DAY, FILE, FOLDER, LINK, broken, entry, subject, told

TOKEN = "ghp_" + "a" * 36


def spec_findings(rule: Rule, **spec: Any) -> list[tuple[str, str]]:
    return told(rule, subject(spec=spec))


def test_a_good_bake_breaks_no_rule() -> None:
    assert broken(subject(entry("opt/hello/run", FILE | 0o755))) == []


def test_a_finding_has_severity_place_message_and_hint() -> None:
    [found] = broken(subject(spec={"user": "root"}), rules={"root_user": "refuse"})
    assert found.model_dump() == {
        "rule": "root_user",
        "severity": "refuse",
        "where": "user",
        "message": "root is root",
        "hint": "leave `user` out, which means 65534:65534, and give `volumes` for what it writes",
    }


def test_a_rule_that_is_off_finds_nothing_and_refusals_come_first() -> None:
    looked_at = subject(spec={"user": "0:0", "ports": [80]})
    assert broken(looked_at, rules={"root_user": "off", "no_healthcheck": "off"}) == []
    found = broken(looked_at, rules={"no_healthcheck": "refuse"})
    assert [one.severity for one in found] == [Severity.REFUSE, Severity.WARN]


@pytest.mark.parametrize("user", ["root", "0", "0:0", "root:web", "00"])
def test_root_is_found_by_name_and_number(user: str) -> None:
    assert spec_findings(Rule.ROOT_USER, user=user) == [("user", f"{user} is root")]


def test_other_users_are_not_root() -> None:
    assert spec_findings(Rule.ROOT_USER, user="rooty:0") == []


def test_setuid_files_are_found_but_those_on_the_allow_list() -> None:
    looked_at = subject(
        entry("opt/hello/run", FILE | 0o4755),
        entry("opt/hello/ok", FILE | 0o2755),
        entry("usr/bin/sudo", FILE | 0o4755),
        entry("opt/hello/folder", FOLDER | 0o2755),
    )
    found = told(Rule.SETUID, looked_at, setuid_allowed=["/opt/hello/ok"])
    assert found == [("/opt/hello/run", "is setuid (mode 4755)")]


def test_what_everybody_can_write_is_found() -> None:
    looked_at = subject(
        entry("opt/hello/data", FILE | 0o666),
        entry("opt/hello/spool", FOLDER | 0o777),
        entry("opt/hello/tmp", FOLDER | 0o1777),
        entry("opt/hello/link", LINK | 0o777),
    )
    assert [where for where, _ in told(Rule.WORLD_WRITABLE, looked_at)] == [
        "/opt/hello/data",
        "/opt/hello/spool",
    ]


def test_device_nodes_are_found() -> None:
    looked_at = subject(entry("opt/hello/null", stat.S_IFCHR | 0o666), entry("opt/p", stat.S_IFIFO))
    assert told(Rule.DEVICE_NODE, looked_at) == [("/opt/hello/null", "is a device node")]


def test_a_path_cannot_forge_a_finding() -> None:
    looked_at = subject(entry("opt/a is fine\n\x1b[2Jx", FILE | 0o4755))
    [(where, message)] = told(Rule.SETUID, looked_at)
    assert (where, message) == ("/opt/a is fine\\x0a\\x1b[2Jx", "is setuid (mode 4755)")


def test_of_too_many_findings_only_the_first_are_told() -> None:
    looked_at = subject(*(entry(f"opt/{n}", FILE | 0o4755) for n in range(MAX_FOUND + 5)))
    found = told(Rule.SETUID, looked_at)
    assert len(found) == MAX_FOUND + 1
    assert found[-1] == ("", f"and more than these {MAX_FOUND}")
    whole = subject(*(entry(f"opt/{n}", FILE | 0o4755) for n in range(MAX_FOUND)))
    assert len(told(Rule.SETUID, whole)) == MAX_FOUND


def test_secrets_in_files_are_told_by_their_line() -> None:
    leaks = [Leak("opt/hello/id_rsa", "line 3 holds a private key"), Leak("root/.x_history", "odd")]
    assert told(Rule.SECRET, subject(leaks=leaks)) == [
        ("/opt/hello/id_rsa:3", "holds a private key"),
        ("/root/.x_history", "odd"),
    ]


@pytest.mark.parametrize(
    ("spec", "where", "message"),
    [
        ({"env": {"GH": TOKEN}}, "env.GH", "holds a GitHub token"),
        ({"labels": {"gh": TOKEN}}, "labels.gh", "holds a GitHub token"),
        ({"entrypoint": ["run", TOKEN]}, "entrypoint[1]", "holds a GitHub token"),
        ({"command": [f"--token={TOKEN}"]}, "command[0]", "holds a GitHub token"),
        (
            {"healthcheck": {"command": ["check", TOKEN]}},
            "healthcheck.command[1]",
            "holds a GitHub token",
        ),
        ({"smoke": {"command": [TOKEN]}}, "smoke.command[0]", "holds a GitHub token"),
        (
            {"env": {"AWS_SECRET_ACCESS_KEY": "b" * 40}},
            "env.AWS_SECRET_ACCESS_KEY",
            "holds an AWS secret access key",
        ),
        (
            {"env": {"DATABASE_URL": "postgres://app:hunter2@db.example/app"}},
            "env.DATABASE_URL",
            "holds credentials in a URL",
        ),
        (
            {"env": {"DB_PASSWORD": "hunter2"}},
            "env.DB_PASSWORD",
            "holds what by its name is a secret",
        ),
    ],
)
def test_secrets_in_the_request_are_found_and_never_told(
    spec: dict[str, Any], where: str, message: str
) -> None:
    looked_at = subject(spec=spec)
    assert (where, message) in told(Rule.SECRET, looked_at)
    said = " ".join(one.model_dump_json() for one in broken(looked_at))
    for secret in (TOKEN, "hunter2", "b" * 40):
        assert secret not in said


@pytest.mark.parametrize(
    "env",
    [
        {"DB_PASSWORD_FILE": "hunter2"},
        {"DB_PASSWORD": "/run/secrets/db"},
        {"API_TOKEN": ""},
        {"TOKEN": "${TOKEN}"},
        {"MAX_TOKENS": "4096"},
        {"URL": "https://example.org/"},
    ],
)
def test_harmless_settings_are_no_secrets(env: dict[str, str]) -> None:
    assert spec_findings(Rule.SECRET, env=env) == []


def test_sizes_are_held_against_the_limits() -> None:
    looked_at = subject(layer_size=2 * 1024**2)
    limits = {"max_layer_size": "1MiB", "max_image_size": "1MiB"}
    assert told(Rule.LAYER_SIZE, looked_at, **limits) == [
        ("layer", "has 2097152 bytes; the limit is 1048576")
    ]
    assert told(Rule.IMAGE_SIZE, looked_at, **limits) == [
        ("image", "has 2097252 bytes; the limit is 1048576")
    ]
    assert told(Rule.LAYER_SIZE, looked_at) == []
    assert told(Rule.LAYER_SIZE, subject(layer_size=None), **limits) == []


def test_a_bake_over_its_own_limit_is_refused_whatever_the_policy_says() -> None:
    looked_at = subject(spec={"max_size": "1MiB"}, layer_size=1024**2)
    [found] = broken(looked_at, rules={"image_size": "off"})
    assert (found.severity, found.where) == (Severity.REFUSE, "max_size")
    assert broken(subject(spec={"max_size": "1MiB"}, layer_size=1024**2 - 100)) == []


def test_a_server_needs_a_health_check() -> None:
    assert spec_findings(Rule.NO_HEALTHCHECK, ports=[9000, 8080, 8080]) == [
        ("healthcheck", "is missing, and it listens on 8080, 9000")
    ]
    assert spec_findings(Rule.NO_HEALTHCHECK) == []
    check = {"command": ["/opt/hello/check"]}
    assert spec_findings(Rule.NO_HEALTHCHECK, ports=[80], healthcheck=check) == []


def test_ports_below_1024_are_for_root() -> None:
    assert spec_findings(Rule.PRIVILEGED_PORT, ports=[1023, 1024, 8080]) == [
        ("ports", "1023 is below 1024 and the user is 65534:65534")
    ]
    assert spec_findings(Rule.PRIVILEGED_PORT, ports=[80], user="0") == []


def test_a_container_must_have_something_to_start() -> None:
    assert spec_findings(Rule.NO_ENTRYPOINT, command=[]) == [
        ("entrypoint", "is missing, and so is command")
    ]
    assert spec_findings(Rule.NO_ENTRYPOINT, command=[], targets=["vm"]) == []
    assert spec_findings(Rule.NO_ENTRYPOINT, command=[], entrypoint=["x"]) == []


@pytest.mark.parametrize(
    ("program", "rule", "message"),
    [
        (Program("serve"), Rule.ENTRYPOINT_NOT_FOUND, "serve is not in the image"),
        (
            Program("x", "opt/x", missing_interpreter="/bin/zsh"),
            Rule.ENTRYPOINT_NOT_FOUND,
            "/opt/x is run by /bin/zsh, which is not in the image",
        ),
        (
            Program("x", "opt/x", obstacle="may not execute /opt/x"),
            Rule.ENTRYPOINT_NOT_RUNNABLE,
            "the user 65534:65534 may not execute /opt/x",
        ),
    ],
)
def test_the_program_must_be_there_for_its_user(program: Program, rule: Rule, message: str) -> None:
    [found] = broken(subject(program=program))
    assert (found.rule, found.where, found.message) == (rule, "command[0]", message)
    assert found.severity is Severity.REFUSE
    [found] = broken(subject(program=program, spec={"entrypoint": ["x"]}))
    assert found.where == "entrypoint[0]"


@pytest.mark.parametrize("words", [["sh", "-c", "a; b"], ["/bin/bash"], ["/bin/busybox", "sh"]])
def test_a_shell_as_the_first_process_needs_an_init(words: list[str]) -> None:
    message = f"{words[0]} is the first process, without an init"
    assert spec_findings(Rule.SHELL_WITHOUT_INIT, command=words) == [("command[0]", message)]
    assert spec_findings(Rule.SHELL_WITHOUT_INIT, command=words, init=True) == []


def test_a_shell_that_makes_way_needs_no_init() -> None:
    words = ["sh", "-c", "exec /opt/hello/run"]
    assert spec_findings(Rule.SHELL_WITHOUT_INIT, entrypoint=words) == []


def test_logs_and_caches_are_found_one_finding_per_cache() -> None:
    looked_at = subject(
        entry("var/log", FOLDER | 0o755),
        entry("var/log/app.log", size=7),
        entry("var/cache/apt/archives/a.deb", size=5),
        entry("var/cache/apt/pkgcache.bin", size=6),
        entry("var/lib/apt/lists", FOLDER | 0o755),
        entry("root/.cache/pip/http/x", size=3),
        entry("opt/hello/.cache/other", size=3),
    )
    assert told(Rule.LOG_FILE, looked_at) == [("/var/log/app.log", "is a log of 7 bytes")]
    assert told(Rule.PACKAGE_CACHE, looked_at) == [
        ("/root/.cache/pip", "is a package manager's cache of 3 bytes"),
        ("/var/cache/apt", "is a package manager's cache of 11 bytes"),
    ]


def test_another_time_zone_is_found_in_settings_and_files() -> None:
    looked_at = subject(entry("etc/localtime", LINK | 0o777), spec={"env": {"TZ": "Europe/Berlin"}})
    assert told(Rule.TIME_ZONE, looked_at) == [
        ("env.TZ", "is Europe/Berlin"),
        ("/etc/localtime", "is changed, which sets the image's time zone"),
    ]
    assert spec_findings(Rule.TIME_ZONE, env={"TZ": "UTC"}) == []


def test_required_metadata_is_a_list_of_the_policy() -> None:
    looked_at = subject(spec={"owner": " ", "build": {}, "labels": {"team": "web"}})
    required = ["owner", "commit", "build", "team", "cost-centre", "owner"]
    assert [where for where, _ in told(Rule.MISSING_METADATA, looked_at, required=required)] == [
        "owner",
        "build.commit",
        "build.url",
        "labels.cost-centre",
    ]
    assert told(Rule.MISSING_METADATA, looked_at, required=[]) == []


def test_a_base_grows_old() -> None:
    message = "baseos 20261122.1 is 91 days old; the limit is 90"
    old = subject(today=BASE.created_epoch + 91 * DAY)
    assert told(Rule.OLD_BASE, old) == [("base", message)]
    assert told(Rule.OLD_BASE, old, max_base_age_days=91) == []
    assert told(Rule.OLD_BASE, subject(today=None)) == []


def test_only_the_stable_channel_follows_the_fixes() -> None:
    assert spec_findings(Rule.UNSTABLE_BASE, base="baseos:candidate") == [
        ("base", "is the channel candidate, not the channel stable")
    ]
    [(_, message)] = spec_findings(Rule.UNSTABLE_BASE, base="baseos@sha256:" + "a" * 64)
    assert message == "is the release sha256:aaaaaaaaaaaa, not the channel stable"


def test_files_outside_the_applications_folders_are_one_finding() -> None:
    looked_at = subject(
        entry("usr", FOLDER | 0o755),
        entry("usr/local/bin/x"),
        entry("opt/hello/x"),
        entry("usr/lib/b"),
        entry("etc/a"),
    )
    assert told(Rule.OUTSIDE_APP_FOLDERS, looked_at) == [
        ("/etc/a", "lies outside the application's folders, as do 1 more")
    ]


def test_compilers_and_debuggers_are_found_by_name() -> None:
    packages = {"gcc-12": "12", "gcc-12-base": "12", "libc6-dev": "2", "hello": "1"}
    looked_at = subject(packages=packages, spec={"packages": ["gdb", "curl"]})
    assert told(Rule.DEBUG_TOOL, looked_at) == [
        ("artifacts", "gcc-12 is installed"),
        ("packages", "gdb is installed"),
    ]
    found = told(Rule.DEBUG_TOOL, looked_at, debug_packages=["*-dev"])
    assert found == [("artifacts", "libc6-dev is installed")]
