"""The doors: issuer keys, grants, generations, and the visits that keep locks and edge of one mind.

A process of its own with a store of its own: nothing else in the node may stop it (decision: architecture.md 2).
"""
