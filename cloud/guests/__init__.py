"""Guests of a PMS as this house knows them: who they are, sealed; what they like; when they stayed."""
