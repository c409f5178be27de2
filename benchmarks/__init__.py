"""Measurements of speed, and checks of what needs a machine of its own; each says how it is started."""
