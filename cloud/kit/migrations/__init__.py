"""Versions of the schema that cloud/kit owns."""
