"""What several test modules need: real parts, processes, deadlines."""
