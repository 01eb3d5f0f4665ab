"""Xiaomi thermometers, heard by their adverts."""
