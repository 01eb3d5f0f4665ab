"""Intesis interfaces of air conditioners."""
