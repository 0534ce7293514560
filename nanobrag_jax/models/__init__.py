"""Structure factors from the files of crystallographers, read with gemmi. Nothing here knows jax."""
