"""eZee: one address for every request, errors in HTTP 200, and nothing but housekeeping that may be written."""
