"""Load, measured, and the simulated game servers of the demo."""
