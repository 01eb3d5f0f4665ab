"""The web workspace, from the outside."""
