"""How the languages of launchers write comments, continued lines and further arguments."""

from __future__ import annotations

import re

# By Launcher.kind: a line that is a comment as a whole.
COMMENTS = {
    "bat": re.compile(r"\s*(?:@?\s*rem(?:\s|$)|::)", re.IGNORECASE),
    "ps1": re.compile(r"\s*#"),
    "sh": re.compile(r"\s*#"),
    "comfy-cli": re.compile(r"\s*[#;]"),
}
# The sign at a line's end by which it goes on in the next one.
GOES_ON = {"bat": "^", "ps1": "`", "sh": "\\"}
# What stands for further arguments, which are usually none.
FURTHER = re.compile(
    r"\$\{?[@*#0-9]\}?|%\*|%~?[0-9]"
    r"|[$%!@]\{?(?:env:)?(?=\w*(?:ARGS?|ARGUMENTS?|OPTS?|OPTIONS?|EXTRAS?|FLAGS?|PARAMS?)(?![A-Z]))"
    r"[A-Za-z_]\w{0,60}(?:\[[@*]\])?[%!}]?",
    re.IGNORECASE,
)
