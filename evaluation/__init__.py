"""How good are images: reads image files, knows nothing of how they were made."""
