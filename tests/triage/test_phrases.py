"""What people write in a few words leads to something sensible; words of other things do not."""

from __future__ import annotations

import pytest
from asking import asked, checks

PHRASES = {
    "image-noise": (
        "brown noise", "noise", "noisy pictures", "brown pictures", "grey noise", "gray noise",
        "static", "pictures are brown", "the pictures are brown noise", "just noise", "only noise",
        "noisy image", "I only get noise", "it gives me colored static", "the output is garbage",
        "all my images are just TV static", "Grey pictures!", "snow", "why is everything noisy?",
    ),
    "image-blank": (
        "black", "all black", "black screen output", "black pictures", "just black",
        "it's all black", "the images come out black", "output is completely black", "blank images",
        "I get a black screen", "only black squares",
    ),
    "image-washed-out": ("washed out", "washed-out pictures", "pale", "the colours are faded",
                         "looks washed out"),
    "base-for-distilled": ("blurry", "it's blurry", "pictures are blurred", "low quality",
                           "looks unfinished"),
    "workflow-mismatch": ("burnt", "deep fried", "oversaturated", "too sharp"),
    "ram-too-small": (
        "it crashes", "just crashes", "crashes", "crashed", "ComfyUI crashes", "reconnecting",
        "Reconnecting...", "freezes", "it freezes", "everything hangs", "stuck", "oom killed",
        "killed", "it just closes", "disconnects", "PC freezes", "not enough RAM",
    ),
    "vram-busy": (
        "oom", "OOM error", "cuda oom", "I get OOM", "out of vram", "no vram", "vram full",
        "not enough vram", "slow", "it is slow", "so slow", "takes forever", "very laggy",
    ),
    "torch-broken": ("won't start", "wont start", "it won't start", "ComfyUI doesn't start",
                     "does not start", "cannot launch", "comfy fails to start", "not starting",
                     "crash on startup"),
    "torch-cpu-only": ("no gpu", "CPU only", "runs on CPU"),
}  # fmt: skip
UNRELATED = (
    "", "hello", "help", "help please", "images", "pictures", "it", "fan noise", "noise seed",
    "the fan makes noise", "brown bear in a forest", "black cat", "a man in black",
    "black and white photo", "the weather is nice", "how do I install python", "start",
    "what is comfyui", "grey wolf", "static IP address", "static website", "open source license",
    "blank line", "freezer", "snow leopard", "closed issue", "slow cooker recipe", "soft launch",
    "git push rejected", "empty folder", "pale ale", "killed process 1234 nginx", "no problem",
    "red and blue", "the model is great", "restart my router",
)  # fmt: skip


@pytest.mark.parametrize(
    ("check", "phrase"), [(check, each) for check, group in PHRASES.items() for each in group]
)
def test_a_phrase_leads_to_what_it_means(check: str, phrase: str) -> None:
    found = checks(phrase)
    assert found[:1] == [check], [(guess.check, guess.row) for guess in asked(phrase)]


@pytest.mark.parametrize("phrase", UNRELATED)
def test_words_of_other_things_lead_to_nothing(phrase: str) -> None:
    assert checks(phrase) == [], [(guess.check, guess.row) for guess in asked(phrase)]


def test_noise_names_every_cause_that_is_known_to_make_it() -> None:
    first, *rest = asked("noise")
    assert {"encoder-wrong", "vae-wrong", "flash-attention-forced"} <= {g.check for g in rest}
    assert "the VAE is another model's" in first.cause and "attention" in first.cause


def test_a_short_word_in_a_log_is_no_description() -> None:
    assert checks("got prompt\nstatic\nPrompt executed in 3.2 seconds") == []
