"""The edge-cloud link: lanes, records, batches, acks, commands and desired state. Source of truth: SPEC.md beside
this file.
"""
