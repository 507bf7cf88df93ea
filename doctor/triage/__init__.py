"""``triage``: from a pasted log, symptom or picture to the check that explains it."""
