"""Structure factors from the files of crystallographers, read with gemmi, and from atoms, differentiable (`atoms`)."""
