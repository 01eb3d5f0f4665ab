"""Versions of the schema that cloud/stays owns."""
