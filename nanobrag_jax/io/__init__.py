"""Reading and writing files: one format a module, numpy arrays in and out."""
