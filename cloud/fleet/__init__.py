"""Edges and the commands sent to them."""
