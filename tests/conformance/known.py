"""Tests that a target is known to fail, by the test's name without the target."""

KNOWN: dict[str, frozenset[str]] = {}
