"""Cloudbeds: pages of JSON in the property's own time, forms for writes, errors that come as 200."""
