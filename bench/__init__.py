"""Measurements: how long a run takes beside merely reading, or copying, the same rows. See docs/speed.md."""
