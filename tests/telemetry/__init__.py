"""Tests of the telemetry layer."""
