"""The command line against a whole control plane: what it prints, and how it ends."""

import json
import re
from pathlib import Path

import yaml

from tests.api.harness import IMAGE
from tests.cli.conftest import Command
from tests.platforms import eventually

SMALL = ("--image", IMAGE, "--cpu", "0.1", "--memory", "16MiB")


def masked(text: str) -> str:
    """Ids, digests and times replaced, so that the rest can be compared."""
    text = re.sub(r"\b01[0-9a-z]{24}\b", "<id>", text)
    text = re.sub(r"sha256:[0-9a-f]+", "<digest>", text)
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "<time>", text)
    return re.sub(r" {2,}", "  ", text)


def test_a_task_is_run_and_shown(fleetwide: Command) -> None:
    ran = fleetwide("task", "run", *SMALL, "--", "exit", "0")
    assert ran.code == 0, ran.err
    assert "task 01" in ran.err
    shown = masked(ran.out)
    assert shown.startswith("task:  <id>\napp:  hello\ncapacity group:  default, priority 50\n")
    assert "\nstate:  Finished\nreason:  normal\n" in shown
    head = "ATTEMPT  STATE  REASON  EXIT  HOST  STARTED  FINISHED  FOLLOWS  RETRIES  DELAY"
    assert f"\nattempts\n  {head}\n" in shown
    assert "\n  1  Finished  normal  0  h1  <time>  <time>  -  -  -\n" in shown
    assert shown.endswith("\nlast lines\n  attempt 1 of 0 says hällo\n")


def test_a_failed_task_ends_with_1_and_says_why_on_stderr(fleetwide: Command) -> None:
    ran = fleetwide("task", "run", *SMALL, "-o", "json", "--", "exit", "3")
    assert ran.code == 1
    assert json.loads(ran.out)["exit_code"] == 3
    assert masked(ran.err).endswith(
        "error: task <id> ended: exit code 3\nhint: fleetwide task logs <id>\n"
    )


def test_following_prints_the_log_alone(fleetwide: Command) -> None:
    ran = fleetwide("task", "run", *SMALL, "--follow", "--", "exit", "0")
    assert (ran.code, ran.out) == (0, "attempt 1 of 0 says hällo\n")
    failed = fleetwide("task", "run", *SMALL, "--follow", "--", "exit", "2")
    assert (failed.code, failed.out) == (1, "attempt 1 of 0 says hällo\n")


def test_tasks_are_listed_in_every_form(fleetwide: Command) -> None:
    label = ("--label", "team=listed")
    run = fleetwide(
        "task", "run", *SMALL, "--app", "listed", *label, "-o", "name", "--", "exit", "0"
    )
    task_id = run.out.strip()
    listing = ("task", "list", "--app", "listed")
    assert masked(fleetwide(*listing).out) == (
        "ID  APP  STATE  REASON  EXIT  HOST  CREATED\n"
        "<id>  listed  Finished  normal  0  h1  <time>\n"
    )
    assert "IMAGE" in fleetwide(*listing, "-o", "wide").out
    assert fleetwide(*listing, "-o", "name").out == f"{task_id}\n"
    assert json.loads(fleetwide(*listing, "-o", "json").out)["items"][0]["id"] == task_id
    assert yaml.safe_load(fleetwide(*listing, "-o", "yaml").out)["items"][0]["id"] == task_id
    assert fleetwide("task", "list", *label, "-o", "name").out == f"{task_id}\n"
    assert "team=listed" in fleetwide("task", "show", task_id).out
    assert fleetwide("task", "list", *label, "--reason", "failed", "-o", "name").out == ""
    both = ("--state", "Started", "--state", "Finished")
    assert fleetwide("task", "list", *label, *both, "-o", "name").out == f"{task_id}\n"
    assert fleetwide("task", "logs", task_id, "--tail", "1").out == "attempt 1 of 0 says hällo\n"


def test_a_waiting_task_is_cancelled_with_a_reason(fleetwide: Command) -> None:
    started = fleetwide("task", "run", *SMALL, "--no-wait", "-o", "name", "--", "sleep")
    cancelled = fleetwide("task", "cancel", started.out.strip(), "--reason", "enough")
    assert cancelled.code == 0, cancelled.err
    assert "message:" in cancelled.out
    assert "enough" in cancelled.out
    again = fleetwide("task", "cancel", started.out.strip())
    assert again.code == 5


def test_specs_come_from_files_and_flags_win(fleetwide: Command, tmp_path: Path) -> None:
    spec = tmp_path / "job.yaml"
    spec.write_text(
        f"app: array\nsize: 9\ncontainer:\n  image: {IMAGE}\n  command: [flaky]\n"
        "  resources: {cpu: 0.1, memory: 16MiB}\nretry: {retries: 1, delay_seconds: 0.01}\n"
    )
    ran = fleetwide("batch", "submit", "-f", str(spec), "--size", "4")
    assert ran.code == 0, ran.err
    assert "children:  4: 4 succeeded\nattempts:  6\n" in masked(ran.out)
    job_id = fleetwide("batch", "list", "-o", "name").out.split()[0]
    children = masked(fleetwide("batch", "children", job_id).out).splitlines()
    assert children[0] == "INDEX  STATE  ATTEMPTS  REASON  EXIT  HOST"
    assert children[1] == "0  succeeded  2  normal  0  h1"
    assert fleetwide("batch", "logs", job_id, "0").out == "attempt 2 of 0 says hällo\n"
    assert "4 succeeded" in fleetwide("batch", "show", job_id).out


def test_a_job_is_held_cut_down_and_released(fleetwide: Command) -> None:
    flags = ("--size", "6", "--hold", "--fail-fast", "--no-wait", "-o", "name")
    job_id = fleetwide("batch", "submit", *SMALL, *flags, "--", "exit", "0").out.strip()
    eventually(lambda: "batch release" in fleetwide("batch", "show", job_id).out, 30, "the hold")
    few = ("--children", "0", "--children", "4-5", "--reason", "enough", "-o", "json")
    answer = json.loads(fleetwide("batch", "cancel", job_id, *few).out)
    assert answer == {"cancelled": 3, "stopping": 0, "ended_already": 0}
    assert "enough: wait" in fleetwide("batch", "hold", job_id, "--reason", "enough: wait").out
    fleetwide("batch", "release", job_id)
    eventually(lambda: "3 succeeded" in fleetwide("batch", "show", job_id).out, 30, "its end")
    assert "3 cancelled" in fleetwide("batch", "show", job_id).out
    refused = fleetwide("batch", "cancel", job_id, "--children", "x")
    assert "no index and no range of indexes" in refused.err


def test_a_job_whose_children_fail_ends_with_1(fleetwide: Command) -> None:
    ran = fleetwide("batch", "submit", *SMALL, "--size", "2", "--", "exit", "1")
    assert ran.code == 1
    assert "2 of 2 children failed" in ran.err


def test_an_os_release_from_build_to_stable(fleetwide: Command) -> None:
    built = fleetwide("os", "build", "--name", "line", "--suite", "bookworm", "--version", "7")
    assert built.code == 0, built.err
    assert "state:  candidate\n" in masked(built.out)
    promoted = fleetwide("os", "promote", "line", "-o", "json")
    assert json.loads(promoted.out)["state"] == "stable"
    assert fleetwide("os", "list", "--name", "line", "-o", "name").out == "line:7\n"
    assert "debian bookworm" in fleetwide("os", "show", "line", "stable").out


def test_files_are_uploaded_and_baked(fleetwide: Command, tmp_path: Path) -> None:
    fleetwide("os", "build", "--name", "bakebase", "--suite", "bookworm", "--version", "1")
    wheel = tmp_path / "hello_web-1.2.0-py3-none-any.whl"
    wheel.write_bytes(b"not a wheel yet")
    uploaded = fleetwide("artifact", "upload", str(wheel), "-o", "json")
    assert json.loads(uploaded.out)["size"] == 15
    base = ("--base", "bakebase:candidate", "--no-wait")
    started = fleetwide("bake", "create", str(wheel), *base, "-o", "json")
    assert started.code == 0, started.err
    assert json.loads(started.out)["summary"] == "hello-web 1.2.0 onto bakebase:candidate"
    key = json.loads(started.out)["id"]
    assert fleetwide("bake", "cancel", key).code == 0
    strange = tmp_path / "x.zip"
    strange.write_bytes(b"x")
    assert fleetwide("bake", "create", str(strange), *base).code == 3


def test_a_host_is_shown_with_what_it_offers_and_what_of_it_is_taken(fleetwide: Command) -> None:
    shown = fleetwide("host", "show", "h1").out
    assert "KEPT BACK" in shown
    assert "not counted" in shown
    assert "20000-32000" in shown
    missing = fleetwide("host", "show", "h9")
    assert missing.code != 0
    assert "there is no host h9" in missing.err


def test_hosts_registry_and_events(fleetwide: Command) -> None:
    assert masked(fleetwide("host", "list", "-o", "name").out) == "h1\n"
    assert "apps/hello\n" in fleetwide("registry", "list", "-o", "name").out
    assert fleetwide("registry", "tags", "apps/hello", "-o", "name").out == f"{IMAGE}\n"
    events = fleetwide("events", "host/h1")
    assert "host is Active" in events.out
    assert "there is more" not in events.err
    assert "there is more" in fleetwide("events", "host/h1", "--limit", "1").err
    assert json.loads(fleetwide("events", "host/h1", "-o", "json").out)["next"]
    assert fleetwide("image", "list").err == "nothing found\n"
