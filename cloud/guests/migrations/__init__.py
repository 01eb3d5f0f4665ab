"""Versions of the schema that cloud/guests owns."""
