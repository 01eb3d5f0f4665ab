"""Versions of the schema that cloud/platform owns."""
