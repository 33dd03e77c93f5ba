"""Views that only one lesson uses."""
