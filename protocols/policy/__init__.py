"""Signed policies: what a property's edge and its cloud obey, who may say so, and which one wins."""
