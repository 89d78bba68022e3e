"""The way to an upstream: its addresses, which of them are allowed, and its side of the opening handshake."""
