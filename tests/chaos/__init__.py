"""A whole proxy under mixed violence for as long as one likes, and an oracle of what may come of it."""
