"""Versions of the schema that cloud/payments owns."""
