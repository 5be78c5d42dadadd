"""``fleetwide os``: builds and what people decide about releases."""

import getpass
import json
import re
from pathlib import Path

import pytest
import yaml

from tests.cli.baseos.conftest import SpecFile
from tests.cli.conftest import Command, Ran

ME = getpass.getuser()
EXAMPLES = sorted((Path(__file__).parents[3] / "examples/baseos").glob("*.yaml"))


def values(ran: Ran) -> dict[str, str]:
    """The named values of a card."""
    assert ran.code == 0, ran.err
    return dict(re.findall(r"^([a-z ]+): +(.*)$", ran.out, re.MULTILINE))


def built(fleetwide: Command, name: str, *more: str) -> str:
    """Build a release; its version."""
    ran = fleetwide("build", "--name", name, "--suite", "bookworm", "-o", "name", *more)
    assert ran.code == 0, ran.err
    return ran.out.strip().partition(":")[2]


def test_every_verb_explains_itself(fleetwide: Command) -> None:
    shown = fleetwide("--help").out
    verbs = re.findall(r"^  ([a-z]+)  ", shown.partition("Commands:")[2], re.MULTILINE)
    assert {"plan", "promote", "hold", "console", "schedule", "retain"} <= set(verbs)
    assert "..." not in shown.partition("Commands:")[2], "a summary is cut off"
    for verb in verbs:
        assert fleetwide(verb, "--help").code == 0
    assert "fleetwide os promote baseos previous" in fleetwide("promote", "--help").out


def test_a_build_without_a_change_shows_the_earlier_release(
    fleetwide: Command, spec_file: SpecFile
) -> None:
    first = values(fleetwide("build", "-f", spec_file("still")))
    assert first["state"] == "candidate"
    again = fleetwide("build", "-f", spec_file("still"))
    assert values(again)["release"] == first["release"]
    assert f"no change: nothing was built; {first['release']} is the same" in again.err
    as_json = fleetwide("build", "-f", spec_file("still"), "-o", "json")
    assert json.loads(as_json.out)["version"] == first["release"].split()[1]
    forced = values(fleetwide("build", "-f", spec_file("still"), "--force"))
    assert forced["release"] != first["release"]


def test_validate_prints_all_defaults_without_a_platform(
    fleetwide: Command, spec_file: SpecFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("fleetwide.cli.baseos.client")
    shown = yaml.safe_load(fleetwide("validate", "-f", spec_file("valid")).out)
    assert (shown["variant"], shown["retention"]["keep"]) == ("minbase", 10)
    assert fleetwide("validate", "-f", spec_file("valid"), "-o", "json").out.startswith("{\n")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("suite: bokworm", "hint: suite: bookworm"),
        ("packages: [Vim]", "packages"),
        ("target: [vm]", "did you mean targets"),
        ("{targets: [vm], ami: {regions: [eu-west-1], tags: {Name: x}}}", "neither YAML nor JSON"),
        ("targets: [vm]\nami: {regions: [eu-west-1], tags: {Name: x}}", "set by the platform"),
    ],
)
def test_validate_refuses_what_a_build_would(
    fleetwide: Command, spec_file: SpecFile, line: str, told: str
) -> None:
    ran = fleetwide("validate", "-f", spec_file("faulty", line))
    assert (ran.code, ran.out) == (3, "")
    assert told in ran.err


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_the_examples_are_valid(fleetwide: Command, example: Path) -> None:
    assert fleetwide("validate", "-f", str(example)).code == 0


def test_a_release_is_shown_with_all_its_parts(fleetwide: Command, spec_file: SpecFile) -> None:
    both = spec_file("parts", "targets: [container, vm]", "packages: [dash]")
    version = values(fleetwide("build", "-f", both))["release"].split()[1]
    ran = fleetwide("show", "parts", version)
    shown = values(ran)
    assert shown["packages"].endswith(", asked for: dash")
    assert re.fullmatch(r"sha256:[0-9a-f]{64}, 2 packages, 2.0 KiB", shown["lock"])
    assert shown["checks"] == "container: 1 of 1 passed; vm: 1 of 1 passed"
    assert shown["boot test"].startswith("passed: running after 40 s under tcg, by bios")
    assert shown["disk"].endswith("2.0 GiB, 1.0 KiB of it used, boots by bios")
    assert ran.out.endswith("\ndocuments\n  container.spdx.json\n")
    wide = fleetwide("list", "--name", "parts", "-o", "wide").out.splitlines()
    assert wide[0].split()[-6:] == ["TARGETS", "SIZE", "LOCK", "BOOT", "AMIS", "WORKFLOW"]
    assert "container,vm" in wide[1]
    assert " passed " in wide[1]


def test_promotion_says_who_and_why_and_can_be_rolled_back(fleetwide: Command) -> None:
    one, two = built(fleetwide, "rolled"), built(fleetwide, "rolled", "--force")
    assert values(fleetwide("promote", "rolled", one, "--reason", "first"))["state"] == "stable"
    lost = fleetwide("promote", "rolled", "--expected", "9")
    assert (lost.code, f"points at {one}, not at 9" in lost.err) == (5, True)
    assert values(fleetwide("promote", "rolled", "--expected", one))["release"] == f"rolled {two}"
    back = fleetwide("promote", "rolled", "previous", "--reason", "breaks DNS", "--by", "ana")
    assert values(back)["release"] == f"rolled {one}"
    history = fleetwide("history", "rolled").out.splitlines()
    assert history[0].split() == ["AT", "CHANNEL", "FROM", "TO", "REVISION", "BY", "REASON"]
    moves = [line for line in history if " stable " in line]
    assert re.search(rf"{two} +{one} +3 +ana +breaks DNS$", moves[0])
    assert re.search(rf"- +{one} +1 +{ME} +first$", moves[-1])
    channels = fleetwide("channels", "rolled")
    assert re.search(rf"^rolled +stable +{one} +3 ", channels.out, re.MULTILINE)
    assert "rolled:stable" in fleetwide("channels", "-o", "name").out.splitlines()


def test_a_release_is_held_let_go_retired_or_revoked(fleetwide: Command) -> None:
    one, two = built(fleetwide, "stood"), built(fleetwide, "stood", "--force")
    unexplained = fleetwide("hold", "stood", one)
    assert (unexplained.code, "--reason" in unexplained.err) == (2, True)
    held = values(fleetwide("hold", "stood", one, "--reason", "slow"))
    assert (held["state"], held["reason"]) == ("held", f"slow ({ME})")
    refused = fleetwide("promote", "stood", one)
    assert (refused.code, f"it is held: slow ({ME})" in refused.err) == (5, True)
    let_go = values(fleetwide("unhold", "stood", one, "--reason", "was the network"))
    assert let_go["state"] == "candidate"
    assert values(fleetwide("retire", "stood", one, "--reason", "old"))["state"] == "retired"
    revoked = values(fleetwide("revoke", "stood", two, "--reason", "leak", "--by", "ana"))
    assert (revoked["state"], revoked["reason"]) == ("revoked", "leak (ana)")
    assert fleetwide("show", "stood", "candidate").code == 4


def test_a_candidate_is_withdrawn_and_a_promoted_release_is_not(fleetwide: Command) -> None:
    one, _ = built(fleetwide, "quit"), built(fleetwide, "quit", "--force")
    assert fleetwide("cancel", "quit", "candidate", "--reason", "not good").code == 0
    fleetwide("promote", "quit", one)
    refused = fleetwide("cancel", "quit", one)
    assert refused.code == 5
    hint = refused.err.splitlines()[-1]
    assert hint == f"hint: fleetwide os revoke quit {one} --reason 'no longer wanted'"
