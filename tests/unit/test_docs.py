"""What the documentation lists is what the code has."""

import re
from pathlib import Path

import pytest
from temporalio.workflow._definition import _Definition

from fleetwide.dev.parse import load
from fleetwide.dev.plan import GRANTS
from fleetwide.models.task_states import END_TEXT, PendingCode
from fleetwide.temporal.search_attributes import ALL
from workers.registry import WORKFLOWS

ROOT = Path(__file__).parents[2]
WORKFLOWS_PAGE = (ROOT / "docs/reference/workflows.md").read_text()
ARCHITECTURE = (ROOT / "docs/concepts/architecture.md").read_text()
COMMANDS = {"api": "fleetwide api", "gateway": "fleetwide registry serve"}
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def row_of(text: str, first: str) -> str:
    [line] = [line for line in text.splitlines() if line.startswith(f"| `{first}` |")]
    return line


def test_every_workflow_type_is_listed_with_its_queries_updates_and_signals() -> None:
    for cls in WORKFLOWS:
        definition = _Definition.must_from_class(cls)
        if definition.name is None:
            continue
        row = row_of(WORKFLOWS_PAGE, definition.name)
        handlers = [*definition.queries, *definition.updates, *definition.signals]
        for name in handlers:
            assert name is None or name.startswith("__") or f"`{name}`" in row, name


def test_every_end_and_every_wait_is_explained() -> None:
    lines = WORKFLOWS_PAGE.splitlines()
    for reason, text in END_TEXT.items():  # a state of releases may have the same name
        assert any(line.startswith(f"| `{reason}` |") and text in line for line in lines), reason
    for code in PendingCode:
        assert row_of(WORKFLOWS_PAGE, code)


def test_every_search_attribute_is_listed() -> None:
    for key in ALL:
        assert f"`{key.name}`" in WORKFLOWS_PAGE


def test_the_table_of_who_holds_what_is_that_of_the_launcher() -> None:
    for name, grants in GRANTS.items():
        if name == "migrate":
            continue
        row = row_of(ARCHITECTURE, COMMANDS.get(name, f"fleetwide worker {name}"))
        held = row.split("|")[3]
        assert ("database" in held and "no database" not in held) == ("database" in grants)
        assert ("AWS credentials" in held) == ("aws" in grants)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([\w./:-]+)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


def test_ports_in_the_quickstart_are_those_of_the_platform() -> None:
    config = load(ROOT / "temporal-dev.yaml")
    text = (ROOT / "docs/quickstart.md").read_text()
    for process in config.processes.values():
        for port in (process.port, process.metrics_port):
            assert port is None or str(port) in text
