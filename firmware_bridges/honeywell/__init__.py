"""Honeywell: imagers that read documents."""
