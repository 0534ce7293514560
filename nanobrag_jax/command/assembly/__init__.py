"""From settings to the parts of an experiment: a file for each part, and one for each kind of source."""
