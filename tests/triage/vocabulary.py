"""Names of checks that are announced and not built yet; triage may name them before that."""

ANNOUNCED: frozenset[str] = frozenset()
