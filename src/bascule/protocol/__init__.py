"""Pure protocol: no sockets, no clock, no logging, no configuration."""
