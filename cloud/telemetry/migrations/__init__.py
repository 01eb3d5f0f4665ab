"""Versions of schema `telemetry`."""
