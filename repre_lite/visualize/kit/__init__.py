"""What views are made of: panels, the browser viewer, captured attention."""
