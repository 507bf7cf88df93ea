"""Environment markers, judged for a target that is not this Python."""

from __future__ import annotations

import construct as c
import pytest
from packaging.markers import Marker

from klein_doctor import markers
from klein_doctor.model import Known, Unknown


@pytest.mark.parametrize(
    ("text", "on_linux", "on_windows"),
    [
        ("sys_platform == 'win32'", False, True),
        ("os_name == 'posix'", True, False),
        ("platform_system == 'Linux'", True, False),
        ("platform_system == 'Windows'", False, True),
        ("python_version < '3.12'", False, False),
        ("python_full_version >= '3.12.3'", True, True),
        ("extra == 'test'", False, False),
        ("implementation_name == 'cpython'", True, True),
    ],
)
def test_the_target_is_judged(text: str, on_linux: bool, on_windows: bool) -> None:
    for system, expected in (("linux", on_linux), ("windows", on_windows)):
        target = markers.target(c.machine()._replace(system=Known(c.system(os=system))))
        assert markers.holds(Marker(text), target) is expected


def test_what_cannot_be_told_is_neither() -> None:
    healthy = c.machine()
    assert isinstance(healthy.interpreter, Known)
    python = healthy.interpreter.value._replace(version=Unknown("its files do not tell"))
    marker = Marker("python_version >= '3.8'")
    for facts in (
        healthy._replace(system=Unknown("refused")),
        healthy._replace(interpreter=Unknown("refused")),
        healthy._replace(interpreter=Known(python)),
    ):
        assert markers.target(facts) is None
        assert markers.holds(marker, markers.target(facts)) is None
        assert markers.holds(None, markers.target(facts)) is True
