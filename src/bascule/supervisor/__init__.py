"""The supervisor: starts, watches and restarts the other processes."""
