"""Random command lines, and a slow restatement of the reference program in plain numpy that judges what they give."""
