"""Installed distributions read from their own records."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from klein_doctor.steps import StepFailed
from klein_doctor.transaction.records import (
    canonical,
    claims,
    compiled_in,
    conda_record,
    files_of,
    installed,
)


def put(site: Path, name: str, version: str, record: str | None, **files: str) -> Path:
    info = site / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n\n")
    if record is not None:
        (info / "RECORD").write_text(record)
    for key, text in files.items():
        (info / key).write_text(text)
    return info


def test_names_come_from_the_metadata_and_leftovers_of_pip_do_not_count(tmp_path: Path) -> None:
    put(tmp_path, "Some.Thing", "1.0", "", INSTALLER="uv\n")
    put(tmp_path, "~orch", "2.9.0", "")
    (tmp_path / "old_one-3.1-py3.11.egg-info").mkdir()
    (tmp_path / "empty-1.dist-info").mkdir()
    (tmp_path / "linked.egg-link").write_text("/home/dev/linked\n.")
    found = {one.name: (one.version, one.installer) for one in installed([tmp_path, tmp_path])}
    assert found == {
        "some-thing": ("1.0", "uv"), "old-one": ("3.1", ""), "empty": ("1", ""),
        "linked": ("", ""),
    }  # fmt: skip
    assert installed([tmp_path / "nowhere"]) == []
    assert canonical("A__b.-c") == "a-b-c"


def test_files_are_those_of_the_record_with_what_was_compiled_of_them(tmp_path: Path) -> None:
    site = tmp_path / "lib" / "site-packages"
    cache = site / "one" / "__pycache__"
    cache.mkdir(parents=True)
    (tmp_path / "bin").mkdir()
    for path in (
        site / "one" / "a.py", site / "one" / "theirs.py", tmp_path / "bin" / "one",
        cache / "a.cpython-311.pyc", cache / "a.cpython-313.opt-1.pyc", cache / "b.cpython-311.pyc",
        cache / "a.b.cpython-311.pyc",
    ):  # fmt: skip
        path.write_text("")
    record = (
        "one/a.py,sha256=x,1\n../../bin/one,,\none/gone.py,,\n"
        '"one/with,comma.py",,\none/__pycache__/a.cpython-311.pyc,,\n'
    )
    put(site, "one", "1.0", record, INSTALLER="pip")
    (one,) = installed([site])
    found = {os.path.relpath(path, tmp_path) for path in files_of(one, [tmp_path])}
    info = "lib/site-packages/one-1.0.dist-info"
    assert found == {
        "bin/one", "lib/site-packages/one/a.py", f"{info}/METADATA", f"{info}/RECORD",
        "lib/site-packages/one/__pycache__/a.cpython-311.pyc",
        "lib/site-packages/one/__pycache__/a.cpython-313.opt-1.pyc", f"{info}/INSTALLER",
    }  # fmt: skip
    assert compiled_in(str(site / "nowhere"), {"a"}) == []


@pytest.mark.parametrize(
    "record",
    ["../../../../etc/passwd,,\n", "/etc/passwd,,\n", "one/../../../x,,\n", "\x00\n", "", "\n\n"],
)
def test_a_hostile_or_empty_record_is_refused(record: str, tmp_path: Path) -> None:
    site = tmp_path / "env" / "site-packages"
    put(site, "one", "1.0", record)
    (one,) = installed([site])
    with pytest.raises(StepFailed, match=r"RECORD"):
        files_of(one, [tmp_path / "env"])


def test_claims_of_a_damaged_record_are_none(tmp_path: Path) -> None:
    put(tmp_path, "one", "1.0", '"' + "x" * 200_000)
    assert claims(installed([tmp_path])[0]) == []


def test_what_conda_keeps_is_found_under_its_own_name(tmp_path: Path) -> None:
    (tmp_path / "conda-meta").mkdir()
    (tmp_path / "conda-meta" / "pytorch-2.5.1-py3.11_cuda12.4_0.json").write_text("{}")
    assert conda_record(tmp_path, "torch").startswith("pytorch-2.5.1")
    assert conda_record(tmp_path, "numpy") == ""
    assert conda_record(tmp_path / "nowhere", "torch") == ""
