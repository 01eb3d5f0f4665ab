"""Ruuvi sensors, heard by their adverts."""
