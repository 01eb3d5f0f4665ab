"""Epson: receipt printers."""
