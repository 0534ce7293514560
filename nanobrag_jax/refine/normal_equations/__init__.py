"""Normal equations of a least-squares step: as matrices, or as products with vectors."""
