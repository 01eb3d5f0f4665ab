"""Versions of the schema that cloud/fleet owns."""
