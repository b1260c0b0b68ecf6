"""The work: dramatiq actors (doorbells) and the units of work that they call."""
