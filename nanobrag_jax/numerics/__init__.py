"""Vectors, loops and polynomials, precision and devices: what knows nothing of diffraction."""
