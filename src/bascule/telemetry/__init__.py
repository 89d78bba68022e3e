"""Measurement: the reservoir, the metric catalogue, the exposition, load, log lines."""
