"""Grants: signed rights to open doors, who may sign them, and the rules by which a lock judges them (SPEC.md)."""
