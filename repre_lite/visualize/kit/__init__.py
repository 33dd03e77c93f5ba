"""Parts that visuals share: captured attention, figures, the palette, controls, the browser viewer."""
