"""What is refined: parameters by name, their transforms, and their layout as vectors."""
