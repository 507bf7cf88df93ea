"""Model paths corrected by the command itself, on real trees; undone to the first bytes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from acting import acted, undone
from command import Ran, doctor
from model_files import put_real
from trees import put_comfyui, put_klein, put_own_python

from klein_doctor.fixing import fixes
from klein_doctor.steps import Step, StepFailed

YAML = "extra_model_paths.yaml"
CHECK = "model-paths-broken"


class Machine:
    """A ComfyUI with a file of extra paths, and the doctor run on it."""

    def __init__(self, top: Path):
        self.top = top
        self.root = put_comfyui(top / "home" / "ComfyUI")
        put_own_python(self.root)
        put_klein(self.root)
        self.yaml = self.root / YAML

    def doctor(self, *arguments: Any) -> Ran:
        ran = doctor(
            "--assume", "RTX 5070,driver=580", "--comfyui", self.root, "--format", "json",
            "--unredacted", "--state-dir", self.top / "state", *arguments,
            env={"HOME": str(self.top / "home")},
        )  # fmt: skip
        assert ran.whole, ran.err
        return ran

    def mended(self) -> tuple[str, Ran]:
        """What the file says after the fix, which is proven, and can be taken back."""
        before = self.yaml.read_bytes()
        assert self.doctor().finding(CHECK)["verdict"] in ("fail", "warn")
        ran = self.doctor("--fix", "--only", "repair-model-paths")
        assert [step["state"] for step in ran.document["steps"]] == ["done"], ran.err
        assert ran.verdicts()[CHECK] == "pass"
        after = self.yaml.read_bytes()
        back = doctor("undo", "--state-dir", self.top / "state")
        assert back.code == 0, back.err
        assert self.yaml.read_bytes() == before
        return after.decode(), ran


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def folders(top: Path, *names: str) -> None:
    for name in names:
        (top / name).mkdir(parents=True)


def test_a_file_with_tabs_is_readable_again(machine: Machine) -> None:
    machine.yaml.write_bytes(b"# mine\r\na:\r\n\tvae: vae\r\n\tbase_path: models\r\n")
    after, _ = machine.mended()
    assert after == "# mine\r\na:\r\n    vae: vae\r\n    base_path: models\r\n"


def test_a_file_nobody_can_guess_at_is_told_to_its_owner(machine: Machine) -> None:
    machine.yaml.write_text("a: [\n")
    ran = machine.doctor("--fix", "--only", "repair-model-paths")
    (step,) = ran.document["plan"]
    assert step["grade"] == "manual" and ran.document["changed"] is False


def test_a_base_that_lies_a_level_off_is_corrected(machine: Machine) -> None:
    data = machine.top / "data"
    folders(data, "ComfyUI/models/vae", "ComfyUI/models/loras")
    text = f"a:  # old\n  base_path: {data}/ComfyUI\n  vae: vae/\n  loras: loras\n"
    machine.yaml.write_text(text)
    after, _ = machine.mended()
    assert after == text.replace(
        f"  base_path: {data}/ComfyUI\n",
        f"  # klein-doctor: was {data}/ComfyUI\n  base_path: {data}/ComfyUI/models\n",
    )


def test_a_base_relative_to_another_folder_is_corrected(machine: Machine) -> None:
    folders(machine.top / "home" / "shared", "vae")
    machine.yaml.write_text("a:\n  base_path: shared/\n  vae: vae\n")
    after, _ = machine.mended()
    assert f"base_path: {machine.top}/home/shared\n" in after


def test_a_folder_that_moved_into_models_is_found(machine: Machine) -> None:
    folders(machine.root / "models", "my vaes")
    machine.yaml.write_text("a:\n  vae: /mnt/old/my vaes\n  loras: /mnt/old/loras\n")
    after, _ = machine.mended()
    assert f"  vae: {machine.root}/models/my vaes\n" in after
    assert "  # klein-doctor: led nowhere, so it is commented out\n  # loras: /mnt" in after


def test_what_is_nowhere_is_commented_out(machine: Machine) -> None:
    text = (
        "a:\n  base_path: /mnt/gone\n  is_default: true\n  vae: vae  # mine\n"
        "  diffusion_models: |\n    one\n    two\n  upscale_models: up\nb:\n  loras: /mnt/gone/l\n"
    )
    machine.yaml.write_text(text)
    after, ran = machine.mended()
    why = "  # klein-doctor: led nowhere, so it is commented out\n"
    assert after == text.replace("  vae: vae", f"{why}  # vae: vae").replace(
        "  diffusion_models: |\n    one\n    two\n",
        f"{why}  # diffusion_models: |\n  #   one\n  #   two\n",
    ).replace("  loras:", f"{why}  # loras:")
    assert "commented out" in ran.document["steps"][0]["says"]


def test_two_places_that_fit_are_not_guessed_between(machine: Machine) -> None:
    folders(machine.top / "home", "shared/vae", "ComfyUI/shared2")
    folders(machine.root / "models", "shared/vae")
    machine.yaml.write_text("a:\n  base_path: /mnt/shared\n  vae: vae\n")
    after, _ = machine.mended()
    assert "# vae: vae" in after and "base_path: /mnt/shared\n" in after


def test_a_file_that_another_program_names_is_edited_too(machine: Machine) -> None:
    other = machine.top / "home" / "extra_models_config.yaml"
    other.write_text("comfyui:\n\tvae: ComfyUI/models/vae\n")
    (machine.root / "run.sh").write_text(f"python main.py --extra-model-paths-config {other}\n")
    machine.yaml = other
    assert machine.mended()[0].startswith("comfyui:\n    vae:")


# --- a wrong file before the right one ---------------------------------------------------------


def shadowed(machine: Machine) -> tuple[Path, Path]:
    """The VAE of FLUX.1 under the name that the right one has in a folder after it."""
    more = machine.top / "more"
    right = put_real(more / "vae" / "flux2-vae.safetensors", "flux2-vae")
    wrong = put_real(machine.root / "models" / "vae" / "flux2-vae.safetensors", "flux1-ae")
    machine.yaml.write_text(f"mine:\n    base_path: {more}\n    vae: vae\n")
    return wrong, right


def test_the_hidden_file_is_reached_by_renaming_the_other(machine: Machine) -> None:
    wrong, right = shadowed(machine)
    before = {path: path.stat().st_ino for path in (wrong, right)}
    assert machine.doctor().finding(CHECK)["evidence"]["hidden"] == str(right)
    ran = machine.doctor("--fix", "--only", "repair-model-paths")
    assert [step["state"] for step in ran.document["steps"]] == ["done"], ran.err
    assert ran.verdicts()[CHECK] == ran.verdicts()["vae-missing"] == "pass"
    assert not wrong.exists()
    assert doctor("undo", "--state-dir", machine.top / "state").code == 0
    assert {path: path.stat().st_ino for path in (wrong, right)} == before


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_where_it_cannot_be_renamed_the_section_comes_first(machine: Machine) -> None:
    wrong, _ = shadowed(machine)
    wrong.parent.chmod(0o555)
    try:
        after, _ = machine.mended()
    finally:
        wrong.parent.chmod(0o755)
    assert "    is_default: true" in after and wrong.exists()


def test_a_section_is_put_first_and_back(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """As above, for whoever runs the tests as root."""
    wrong, right = shadowed(machine)
    before = machine.yaml.read_bytes()
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    step = Step("repair-model-paths", "t", "move", "ask", {
        "path": str(wrong), "do": "unhide", "name": "x.safetensors", "hidden": str(right),
        "root": str(machine.root), "files": [str(machine.yaml)],
    })  # fmt: skip
    said, journal = acted(fixes()["repair-model-paths"], step, machine.top / "run")
    assert "comes first" in said
    assert machine.doctor().verdicts()[CHECK] == "pass"
    assert undone(journal) == []
    assert machine.yaml.read_bytes() == before


def test_a_file_that_changed_meanwhile_is_left(machine: Machine) -> None:
    machine.yaml.write_text("a:\n  vae: models/vae\n")
    before = machine.yaml.read_bytes()
    arguments = {"path": str(machine.yaml), "root": str(machine.root), "base": str(machine.root),
                 "missing": ["/mnt/gone"], "searched": []}  # fmt: skip
    for do, says in (("point", "any more"), ("mend", "by hand")):
        step = Step("repair-model-paths", "t", "config", "ask", {**arguments, "do": do})
        with pytest.raises(StepFailed, match=says):
            acted(fixes()["repair-model-paths"], step, machine.top / do)
    assert machine.yaml.read_bytes() == before
