"""Stands before rich, which the developers' tools bring and no installation has; structlog imports it."""

raise ImportError("an installation has no rich")
