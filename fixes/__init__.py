"""The repairs, one file each; modules named shared_* hold what several of them need."""
