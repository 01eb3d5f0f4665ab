"""The door over BLE: adverts, the unlock exchange in both roles, carrying and fetching, the lock's memory (SPEC.md)."""
