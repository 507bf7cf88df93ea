"""The repairs, one file each; none is part of this version, which only diagnoses."""
