"""What copies' endpoints tell becomes figures, or a sentence about why it does not."""

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from fleetwide.models.containers import ContainerTaskSpec
from fleetwide.models.metrics_endpoint import EndpointMetric
from fleetwide.models.services import ContainerServiceSpec
from fleetwide.services.endpoint_meter import EndpointMeter
from fleetwide.services.exposition import MAX_SERIES

TEXT = r"""# HELP http_requests_total Requests.
# TYPE http_requests_total counter
http_requests_total{method="GET",path="/a,}\"\n\\"} 10
http_requests_total{method="GET",path="/b",} 5.5 1395066363000
http_requests_total { method = "PUT" }	2e1 # {trace="x"} 1
http_requests_total_created 7
http_requests_total_x{a="b"} broken
in_flight 3
"""
REQUESTS = {"name": "requests", "series": "http_requests_total"}


def metric(**more: Any) -> EndpointMetric:
    return EndpointMetric.model_validate(REQUESTS | more)


def gauge(text: str, **more: Any) -> float | str:
    """The value of the metric as it is, or its fault."""
    readings = EndpointMeter([metric(kind="gauge", **more)]).read(text.encode(), 0)
    return readings.faults.get("requests") or readings.values["requests"]


def test_series_that_fit_are_added_up() -> None:
    assert gauge(TEXT) == 35.5
    assert gauge(TEXT.replace("\n", "\r\n")) == 35.5
    assert gauge(TEXT, labels={"method": "GET"}) == 15.5
    assert gauge(TEXT, labels={"path": '/a,}"\n\\'}) == 10
    assert gauge(TEXT, series="in_flight") == 3
    assert (
        gauge(TEXT, labels={"method": "PATCH"})
        == "there is no http_requests_total with these labels"
    )


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", "there is no http_requests_total"),
        ("# http_requests_total 1", "there is no http_requests_total"),
        ("http_requests_total", "there is no http_requests_total"),
        ("http_requests_total NaN", "line 1: http_requests_total is nan; it must be a number"),
        ("http_requests_total +Inf", "http_requests_total is inf"),
        ("http_requests_total 1e999", "http_requests_total is inf"),
        ("http_requests_total -1", "http_requests_total is -1"),
        ("http_requests_total 1_0", "the value of http_requests_total is no number"),
        ("http_requests_total secret", "the value of http_requests_total is no number"),
        ("http_requests_total{} ", "the value of http_requests_total is no number"),
        ('http_requests_total{a="b" 1', "line 1 is no line of the text format"),
        ('http_requests_total{a="b",a="c"} 1', "line 1 is no line of the text format"),
        ('http_requests_total{a="b\\"} 1', "line 1 is no line of the text format"),
        ("http_requests_total 1\nhttp_requests_total 1", "line 2: a series"),
        (f'http_requests_total{{a="{"x" * 9000}"}} 1', "line 1 has more than 8192 characters"),
        (
            "\n".join(f'http_requests_total{{a="{n}"}} 1' for n in range(MAX_SERIES + 1)),
            "more than 1000 series of http_requests_total fit",
        ),
        ("http_requests_total 1e300", "http_requests_total makes more than 1e+15"),
    ],
)
def test_what_cannot_be_read_is_told_without_a_word_of_the_text(line: str, said: str) -> None:
    found = gauge(line)
    assert isinstance(found, str)
    assert said in found
    assert "secret" not in found


def test_no_text_is_told() -> None:
    readings = EndpointMeter([metric()]).read(b"\xff\xfe", 0)
    assert readings.faults == {"requests": "the answer is no UTF-8"}


def test_a_counter_is_its_growth_per_second_and_none_when_it_falls() -> None:
    meter = EndpointMeter([metric()])

    def read(moment: float, **counts: float) -> float | str | None:
        text = "".join(f'http_requests_total{{a="{a}"}} {n}\n' for a, n in counts.items())
        found = meter.read(text.encode(), moment)
        return found.faults.get("requests") or found.values.get("requests")

    assert read(0, a=1000) is None
    assert read(10, a=1050) == 5
    assert read(20, a=1050, b=20) == 2  # a new series began at 0
    assert read(20, a=1060, b=20) is None  # no time has passed
    assert read(30, a=1080) == 2  # one is left out for a while
    assert read(40, a=1080, b=30) == 1
    assert read(50, a=4, b=35) == "http_requests_total fell from 1080 to 4; it is counted anew"
    assert read(60, a=14, b=40) == 1.5


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=12), st.floats(0.1, 100))
def test_a_counter_that_only_rises_loses_and_doubles_nothing(
    steps: list[int], seconds: float
) -> None:
    meter, total, counted = EndpointMeter([metric()]), 5, 0.0
    for number, step in enumerate([0, *steps]):
        total += step
        found = meter.read(f"http_requests_total {total}".encode(), number * seconds)
        counted += found.values.get("requests", 0) * seconds
    assert math.isclose(counted, sum(steps), rel_tol=1e-9, abs_tol=1e-6)


@settings(max_examples=200, deadline=None)
@given(st.text('http_requests_total{}="\\,ab 1\n.e+-N', max_size=80))
def test_no_text_breaks_a_meter(text: str) -> None:
    meter = EndpointMeter([metric()])
    for moment, body in enumerate((text, f"http_requests_total{text}", "http_requests_total 1")):
        found = meter.read(body.encode(), moment)
        assert all(math.isfinite(value) and value >= 0 for value in found.values.values())


ENDPOINT = {"port": 9100, "metrics": [REQUESTS]}


@pytest.mark.parametrize(
    ("container", "told"),
    [
        ({"metrics_endpoint": ENDPOINT, "network": "none"}, "metrics_endpoint needs a network"),
        ({"metrics_endpoint": {**ENDPOINT, "path": "x"}}, "path"),
        ({"metrics_endpoint": {**ENDPOINT, "metrics": []}}, "at least 1"),
        ({"metrics_endpoint": {**ENDPOINT, "metrics": [REQUESTS, REQUESTS]}}, "the name requests"),
        (
            {"metrics_endpoint": {**ENDPOINT, "metrics": [{**REQUESTS, "name": "cpu"}]}},
            "cpu is measured by the hosts",
        ),
    ],
)
def test_endpoints_that_cannot_be_are_told_of(container: dict[str, Any], told: str) -> None:
    spec = {"app": "x", "container": {"image": "apps/x:1", **container}}
    with pytest.raises(ValidationError, match=told):
        ContainerServiceSpec.model_validate(spec)


def test_only_copies_of_services_have_one() -> None:
    spec = {"app": "x", "container": {"image": "apps/x:1", "metrics_endpoint": ENDPOINT}}
    assert ContainerServiceSpec.model_validate(spec).container.metrics_endpoint
    with pytest.raises(ValidationError, match=r"container\.metrics_endpoint: only copies"):
        ContainerTaskSpec.model_validate(spec)
