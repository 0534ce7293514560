"""DIALS experiment lists, read and written, and what they say as experiments."""
