"""Pure decisions: routes, origins, fields, budget. No I/O: they are given the configuration."""
