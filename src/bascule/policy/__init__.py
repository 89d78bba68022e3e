"""Pure decisions: configuration, routes, budget. No I/O but in `loading` and `certificate`."""
