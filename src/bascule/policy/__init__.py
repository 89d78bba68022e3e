"""Pure decisions: configuration, routes, budget. No I/O but in `loading`, `namedfile` and `certificate`."""
