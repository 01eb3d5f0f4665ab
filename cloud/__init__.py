"""The service that gathers every property: a modular monolith, one schema a module."""
