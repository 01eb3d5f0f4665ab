"""Policies of properties: authored here, signed, brought to the edges by rings, and taken back where they do harm."""
