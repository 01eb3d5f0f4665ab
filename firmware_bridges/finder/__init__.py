"""Finder energy meters."""
