"""Ways to the minimum: what a driver is, and the drivers there are."""
