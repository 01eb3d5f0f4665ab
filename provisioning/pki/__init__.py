"""Certificates for links. The door hierarchy (property CA, issuers) is apart: see protocols/grant."""
