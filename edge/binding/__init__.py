"""Which thing stands behind which name: found, proposed, bound, tested, swapped, unbound."""
