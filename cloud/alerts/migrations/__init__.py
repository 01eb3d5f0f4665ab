"""Versions of the schema that cloud/alerts owns."""
