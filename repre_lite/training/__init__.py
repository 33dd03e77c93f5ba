"""Training: the loop, its optimiser, runs written into folders, and what their metrics say."""
