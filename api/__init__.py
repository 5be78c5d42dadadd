"""The HTTP API in front of all products."""
