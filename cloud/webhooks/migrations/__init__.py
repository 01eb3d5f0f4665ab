"""Versions of the schema that cloud/webhooks owns."""
