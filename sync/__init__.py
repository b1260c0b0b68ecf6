"""The mind: the reconcile engine. Pure: values in, values out; no I/O, no clock, no chance."""
