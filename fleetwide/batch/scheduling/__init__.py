"""Whose turn it is in batch: a tree of queues, fair shares, rounds. Pure functions of data."""
