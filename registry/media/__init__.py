"""The set: what crosses the gap, byte by byte."""
