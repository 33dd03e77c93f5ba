"""What a run needs, before you pay for it."""
