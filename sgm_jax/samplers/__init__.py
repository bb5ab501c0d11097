"""Samplers: a score function in, images out."""
