"""Tenants, properties and who may ask: the ground that every other module stands on."""
