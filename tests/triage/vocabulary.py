"""Names of checks that are announced and not built yet; triage may name them before that."""

ANNOUNCED = frozenset(
    {
        "generation-failed", "image-blank", "image-noise", "image-not-repeatable",
        "image-washed-out", "kernels-fail", "log-says-otherwise", "torch-replaced",
        "vram-over-plan",
    }
)  # fmt: skip
