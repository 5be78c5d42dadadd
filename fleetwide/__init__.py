"""Fleetwide: an open compute platform whose every lifecycle is a durable Temporal workflow."""

__version__ = "0.1.0"
