"""The node in the building."""
