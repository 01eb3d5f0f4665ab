"""Quio: card dispensers."""
