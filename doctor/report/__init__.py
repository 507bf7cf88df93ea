"""Renderers: a Report in, text out. They import values only."""
