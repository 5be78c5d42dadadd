"""Addresses in answers: the API's own pages and Temporal's Web UI."""

import re
from urllib.parse import quote

from fleetwide.settings import Settings

SCHEDULED = re.compile(r"^os/[^/]+/(daily|security)-[0-9]{4}-")


def ui_page(settings: Settings, workflow_id: str, run_id: str) -> str:
    """The run's page in the Temporal Web UI; without a run id the page of all its runs."""
    base = settings.temporal_ui_url.rstrip("/")
    namespace = quote(settings.temporal_namespace, safe="")
    page = f"{base}/namespaces/{namespace}/workflows/{quote(workflow_id, safe='')}"
    return f"{page}/{run_id}" if run_id else page


def thing_page(workflow_id: str) -> str:
    """The page of the thing that a workflow is the lifecycle of."""
    if SCHEDULED.search(workflow_id):
        # A scheduled build chooses its version itself.
        return operation_page(workflow_id)
    kind, _, name = workflow_id.partition("/")
    known = {
        "os": "/v1/os/releases",
        "bake": "/v1/bakes",
        "task": "/v1/tasks",
        "batch": "/v1/batch/jobs",
        "service": "/v1/services",
    }
    if kind in known and name:
        return f"{known[kind]}/{quote(name)}"
    return operation_page(workflow_id)


def operation_page(workflow_id: str) -> str:
    """The page of any workflow."""
    return f"/v1/operations/{quote(workflow_id)}"


def links_of(settings: Settings, workflow_id: str, run_id: str) -> dict[str, str]:
    """Links of a thing that has a workflow."""
    links = {
        "self": thing_page(workflow_id),
        "operation": operation_page(workflow_id),
        "ui": ui_page(settings, workflow_id, run_id),
    }
    if workflow_id.startswith("task/"):
        links["logs"] = f"{links['self']}/logs"
    if workflow_id.startswith("batch/"):
        links["children"] = f"{links['self']}/children"
    return links
