"""Pure measurement: the reservoir, the metric catalogue, the exposition."""
