"""Versions of the schema that cloud/checkin owns."""
