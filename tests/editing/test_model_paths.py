"""extra_model_paths.yaml mended where that is mechanical, and left alone where it is not."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from klein_doctor.editing.model_paths import apply, commented, entries, mended, put_first, quoted
from klein_doctor.editing.model_paths import replaced as changed
from klein_doctor.paths_yaml import checked

MARK = "# klein-doctor:"


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ("a:\n\tvae: x # mine\n", "a:\n    vae: x # mine\n", "tabs become spaces"),
        ("a:\r\n  vae: x\r\n\tclip: y\r\n", "a:\r\n  vae: x\r\n  clip: y\r\n",
         "tabs become spaces"),
        ('a:\n  base_path: "C:\\Users\\x"  # here\n', "a:\n  base_path: 'C:\\Users\\x'  # here\n",
         "single quotes"),
        ('a:\n  base_path: "C:\\\\new\\Models"\n', "a:\n  base_path: 'C:\\new\\Models'\n",
         "single quotes"),
        ("a:\n  base_path:C:\\ComfyUI\n  vae: x\n", "a:\n  base_path: C:\\ComfyUI\n  vae: x\n",
         "a space follows a colon"),
        ("a:\n  base_path: %USERPROFILE%\\x\n", "a:\n  base_path: '%USERPROFILE%\\x'\n",
         "single quotes"),
        ("a:\n  vae: D:\\it's: mine\n", "a:\n  vae: 'D:\\it''s: mine'\n", "single quotes"),
        ("# all comments\n", f"# all comments\nnothing:  {MARK} ComfyUI does not start with an "
         "empty file\n", "adds nothing"),
        ("", f"nothing:  {MARK} ComfyUI does not start with an empty file\n", "adds nothing"),
        ("a:\n  vae: 7\n  clip: x\n", f"a:\n  {MARK} it is no folder\n  # vae: 7\n  clip: x\n",
         "commented out"),
        ("a:\n  vae:\n  clip: x\n", f"a:\n  {MARK} it is no folder\n  # vae:\n  clip: x\n",
         "commented out"),
        ("a:\n  clip: x\nb: text\n", f"a:\n  clip: x\n{MARK} it is no folder\n# b: text\n",
         "commented out"),
        ('a:\n\tbase_path: "C:\\x"\n\tvae:1\n', "a:\n    base_path: 'C:\\x'\n    vae: 1\n", "?"),
    ],
)  # fmt: skip
def test_what_is_mechanical_is_mended(before: str, after: str, says: str) -> None:
    found = mended(before)
    assert found is not None
    if says == "?":  # several faults, one after the other; the last value is no folder
        assert found.text == after.replace(
            "    vae: 1", f"    {MARK} it is no folder\n    # vae: 1"
        )
    else:
        assert found.text == after
        assert says in found.says
    checked(found.text)


@pytest.mark.parametrize(
    "text", ["a:\n  vae: x\n", "a: [\n", "a: *x\n", "a:\n  b: 1\n c: 2\n", "--- a\n--- b\n", "{",
             "-"],
)  # fmt: skip
def test_what_is_not_is_left_alone(text: str) -> None:
    assert mended(text) is None


@settings(max_examples=100, deadline=None)
@given(st.text("ab:#\"'\\ \t\n\r-{}[]|>&*!%@,0/C", max_size=80))
def test_whatever_comes_of_it_comfyui_can_read(text: str) -> None:
    found = mended(text)
    if found is not None:
        checked(found.text)


TEXT = """# mine
a:
    base_path: /old   # where it was
    vae: |
        one
        two
    clip: c
"""


def test_one_entry_changes_and_the_rest_stays() -> None:
    base, vae, _ = entries(TEXT)
    after = apply(TEXT, lambda text: changed(text, base, "/new place: x"))
    assert after == TEXT.replace(
        "    base_path: /old", f"    {MARK} was /old\n    base_path: '/new place: x'"
    )
    after = apply(TEXT, lambda text: commented(text, vae, "why"))
    assert after == TEXT.replace(
        "    vae: |\n        one\n        two\n",
        f"    {MARK} why\n    # vae: |\n    #     one\n    #     two\n",
    )
    after = apply(TEXT, lambda text: put_first(text, entries(TEXT)))
    assert after == TEXT.replace(
        "    base_path", f"    is_default: true  {MARK} its files come first\n    base_path"
    )


def test_what_stands_in_one_line_with_others_is_by_hand() -> None:
    text = "a: {vae: x, clip: y}\n"
    with pytest.raises(ValueError, match="several"):
        apply(text, lambda t: changed(t, entries(text)[0], "/new"))


@pytest.mark.parametrize(
    "path", ["/a b/c", "C:\\x", "no", "1", "a: b", "it's", "~/x", "#x", " x", "[x"]
)
def test_a_path_is_written_so_that_it_is_read_as_one(path: str) -> None:
    ((_, node),) = checked(f"a:\n  vae: {quoted(path)}\n")
    assert node.pairs()[0][1].text == path
