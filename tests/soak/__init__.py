"""Many idle sessions for a while."""
