"""What the buildings report: streams and their marks, records, latest values, and the proof that nothing is
missing.
"""
