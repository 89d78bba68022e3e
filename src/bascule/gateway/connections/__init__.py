"""What holds for any connection of ours: waits, bounds, farewells, the PROXY header. No HTTP, no TLS."""
