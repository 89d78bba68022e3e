"""The seam between the processes: messages, descriptors, shared counters."""
