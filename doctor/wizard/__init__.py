"""``klein-doctor setup``: questions, a plan to tick, and the repair."""
