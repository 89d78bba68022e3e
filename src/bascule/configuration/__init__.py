"""The configuration: its keys, where they are read, what is wrong with it, what a reload may change."""
