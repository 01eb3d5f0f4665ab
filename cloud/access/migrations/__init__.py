"""Versions of the schema that cloud/access owns."""
