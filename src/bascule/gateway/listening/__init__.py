"""The browser's way in: connections are accepted, heads read, upgrades told from plain requests."""
