"""Changes that can be taken back: a journal written before each of them, and their inverses."""
