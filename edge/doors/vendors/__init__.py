"""Foreign lock systems: one port, an adapter a vendor, and the desk that keeps a stay's keys in them of one mind.

Part of the doors process and of no other, because a right to a door is the doors' business whoever built the lock
(docs/decisions/0046-foreign-locks-live-in-the-doors-process.md).
"""
