"""Many shots of one structure: a batch of them in one compiled program."""
