"""The checks: pure functions of (Facts, Recipe), one file per subject, found by themselves."""
