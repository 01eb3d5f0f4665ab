"""Versions of the schema that cloud/policy owns."""
