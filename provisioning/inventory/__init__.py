"""The inventory: what a property engineer writes down about a building, and what is made from it."""
