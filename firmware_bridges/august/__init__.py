"""August and Yale Access in the cloud, emulated: locks behind a bridge that is slow, busy or away."""
