"""From an experiment to an image: one kernel, lifted over pixels and samples."""
