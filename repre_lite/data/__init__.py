"""Pictures, their sources, and the views made of them on the device."""
