"""Versions of the schema that cloud/pms owns."""
