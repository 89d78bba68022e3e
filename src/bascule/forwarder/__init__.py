"""The forwarder: all I/O of a relayed session."""
