"""Completion for shells, written from the command line itself: bash, zsh, fish, PowerShell.

Lists of checks and fixes stand in the script as they are when it is written.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from typing import NamedTuple

from klein_doctor.arguments import parser

_PATHS = ("FILE", "DIR", "EXE", "PATH", "FILE|-|WORDS", "DIR|URL")
_CHECKS, _FIXES = ("--select", "--ignore"), ("--only", "--except")


class Word(NamedTuple):
    """An option or a command. values: what may follow; paths: a path may; alone: nothing does."""

    name: str
    says: str
    values: tuple[str, ...] = ()
    paths: bool = False
    alone: bool = True


def script(shell: str) -> str:
    """What the shell is to read at its start; shell is a key of ``SHELLS``."""
    top = parser()
    return SHELLS[shell](list(_options(top)), list(_commands(top)))


def _options(top: argparse.ArgumentParser) -> Iterator[Word]:
    from klein_doctor.fixing import fixes
    from klein_doctor.registry import catalogue

    for action in top._actions:
        for name in action.option_strings:
            values = tuple(str(choice) for choice in action.choices or ())
            if name in _CHECKS:
                values = tuple(catalogue())
            elif name in _FIXES:
                values = tuple(fixes())
            paths = action.metavar in _PATHS
            yield Word(name, _line(action.help or ""), values, paths, action.nargs == 0)


def _commands(top: argparse.ArgumentParser) -> Iterator[Word]:
    from klein_doctor.registry import catalogue

    for action in top._actions:
        if not isinstance(action, argparse._SubParsersAction):
            continue
        helps = {choice.dest: choice.help or "" for choice in action._choices_actions}
        for name, sub in action.choices.items():
            placed = [a for a in sub._actions if not a.option_strings]
            values = tuple(str(choice) for a in placed for choice in a.choices or ())
            if name == "explain":
                values = tuple(catalogue())
            paths = any(a.metavar in _PATHS for a in placed)
            yield Word(name, _line(helps.get(name, "")), values, paths, not placed)


def _line(text: str) -> str:
    """One line without what a shell would read as its own."""
    return "".join(sign for sign in " ".join(text.split()) if sign not in "'\"`$\\[]:").strip()


def _bash(options: list[Word], commands: list[Word]) -> str:
    cases = []
    for word in (*options, *commands):
        if word.values:
            fill = f'COMPREPLY=($(compgen -W "{" ".join(word.values)}" -- "$cur"))'
        elif word.paths:
            fill = 'COMPREPLY=($(compgen -f -- "$cur"))'
        elif not word.alone:
            fill = "COMPREPLY=()"
        else:
            continue
        cases.append(f"        {word.name}) {fill}; return ;;")
    return "\n".join(
        (
            "# klein-doctor completion for bash",
            "_klein_doctor() {",
            '    local cur="${COMP_WORDS[COMP_CWORD]}" prev="${COMP_WORDS[COMP_CWORD-1]}"',
            '    case "$prev" in',
            *cases,
            "    esac",
            '    if [[ "$cur" == -* ]]; then',
            f'        COMPREPLY=($(compgen -W "{" ".join(o.name for o in options)}" -- "$cur"))',
            "    else",
            f'        COMPREPLY=($(compgen -W "{" ".join(c.name for c in commands)}" -- "$cur"))',
            "    fi",
            "}",
            "complete -o filenames -F _klein_doctor klein-doctor",
            "",
        )
    )


def _zsh(options: list[Word], commands: list[Word]) -> str:
    def after(word: Word) -> str:
        if word.values:
            return f":value:({' '.join(word.values)})"
        if word.paths:
            return ":path:_files"
        return "" if word.alone else ":value:"

    lines = [f"        '*{o.name}[{o.says}]{after(o)}'" for o in options]
    places = [f"                {c.name}) _arguments '*{after(c)}' ;;"
              for c in commands if c.values or c.paths]  # fmt: skip
    told = [f"        '{c.name}:{c.says}'" for c in commands]
    return "\n".join(
        (
            "#compdef klein-doctor",
            "_klein_doctor() {",
            "    local context state line",
            "    local -a told",
            "    told=(",
            *told,
            "    )",
            "    _arguments -C \\",
            *(f"{line} \\" for line in lines),
            "        '1:command:->command' '*::argument:->argument'",
            "    case $state in",
            "        command) _describe command told ;;",
            "        argument)",
            "            case $line[1] in",
            *places,
            "            esac ;;",
            "    esac",
            "}",
            'if [ "$funcstack[1]" = "_klein_doctor" ]; then',
            '    _klein_doctor "$@"',
            "else",
            "    compdef _klein_doctor klein-doctor",
            "fi",
            "",
        )
    )


def _fish(options: list[Word], commands: list[Word]) -> str:
    lines = ["# klein-doctor completion for fish", "complete -c klein-doctor -f"]
    for c in commands:
        lines.append(f"complete -c klein-doctor -n __fish_use_subcommand -a {c.name} -d '{c.says}'")
        inside = f"complete -c klein-doctor -n '__fish_seen_subcommand_from {c.name}'"
        if c.values:
            lines.append(f"{inside} -a '{' '.join(c.values)}'")
        elif c.paths:
            lines.append(f"{inside} -F")
    for o in options:
        if not o.name.startswith("--"):
            continue
        line = f"complete -c klein-doctor -l {o.name.removeprefix('--')} -d '{o.says}'"
        if o.values:
            line += f" -x -a '{' '.join(o.values)}'"
        elif not o.alone:
            line += " -r -F" if o.paths else " -x"
        lines.append(line)
    return "\n".join(lines) + "\n"


def _powershell(options: list[Word], commands: list[Word]) -> str:
    table = [
        f"        '{word.name}' = @({', '.join(repr(value) for value in word.values)})"
        for word in (*options, *commands)
        if word.values
    ]
    names = ", ".join(f"'{word.name}'" for word in (*commands, *options))
    return "\n".join(
        (
            "# klein-doctor completion for PowerShell",
            "Register-ArgumentCompleter -Native -CommandName klein-doctor -ScriptBlock {",
            "    param($wordToComplete, $commandAst, $cursorPosition)",
            "    $values = @{",
            *table,
            "    }",
            "    $words = @($commandAst.CommandElements | ForEach-Object { $_.ToString() })",
            "    $previous = if ($wordToComplete -and $words.Count -gt 1) { $words[-2] }"
            " else { $words[-1] }",
            f"    $names = @({names})",
            "    $offered = if ($values.ContainsKey($previous)) { $values[$previous] }"
            " else { $names }",
            '    $offered | Where-Object { $_ -like "$wordToComplete*" } | ForEach-Object {',
            "        [System.Management.Automation.CompletionResult]::new($_)",
            "    }",
            "}",
            "",
        )
    )


SHELLS: dict[str, Callable[[list[Word], list[Word]], str]] = {
    "bash": _bash,
    "zsh": _zsh,
    "fish": _fish,
    "powershell": _powershell,
}
