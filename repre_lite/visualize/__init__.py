"""Pictures of what an encoder sees and a decoder redraws. Each view is computed once, then drawn, then wired."""
