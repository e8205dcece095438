"""Measures what the capacity model knows: what an order costs each part, and runs that the model must foresee."""
