"""Versions of the schema that cloud/privacy owns."""
