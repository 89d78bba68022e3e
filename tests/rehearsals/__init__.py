"""Whole procedures, rehearsed with the product as a process: drain, rolling replacement, a full cluster."""
