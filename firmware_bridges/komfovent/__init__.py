"""Komfovent air handling units."""
