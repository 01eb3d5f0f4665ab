"""FoxESS: hybrid inverters."""
