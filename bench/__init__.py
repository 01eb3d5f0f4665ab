"""Benchmarks: each compares with a peer or a physical limit in the same run. `python -m bench [NAME ...]`."""
