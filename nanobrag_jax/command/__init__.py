"""The command line: flags in, image files out."""
