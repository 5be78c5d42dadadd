"""A small web service and a small batch program, to bake and run on Fleetwide."""

__version__ = "1.0.0"
