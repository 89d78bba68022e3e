"""The tests; a package so that all of them can say ``from tests.support…``."""
