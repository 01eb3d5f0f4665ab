"""Govee thermometers, heard by their adverts."""
