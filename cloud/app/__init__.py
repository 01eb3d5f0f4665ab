"""Composition root of the cloud service: settings, construction, lifecycle, the command `innkeeper-cloud`."""
