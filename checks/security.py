"""Can others read a secret of this user?"""

from __future__ import annotations

from klein_doctor.installation import Secret
from klein_doctor.model import Facts, Harm, Outcome, Repair, Unknown, Verdict
from klein_doctor.outcomes import passed, unknown
from klein_doctor.recipe import Recipe
from klein_doctor.registry import check

_TOKENS = "https://huggingface.co/settings/tokens"
_MOST = 5


@check(
    "secrets-exposed",
    family="security",
    title="No Hub token lies open",
    harm=Harm.NOTE,
    reads="The rights of the Hugging Face token file, and whether launchers and workflows hold "
    "something that looks like a token. The token itself is never kept or shown.",
    why="A token lets others download and upload in your name. Launchers and workflows are files "
    "people pass on. Nothing here needs one: the 4B model is open to all.",
    by_hand=f"Revoke the token on {_TOKENS}, make a new one if you need it, and keep it in its own "
    "file, readable by you alone (chmod 600).",
)
def secrets_exposed(facts: Facts, recipe: Recipe) -> list[Outcome] | Outcome:
    if isinstance(facts.secrets, Unknown):
        return unknown("Whether a Hub token lies open is not known", facts.secrets)
    secrets = facts.secrets.value
    if not secrets:
        return passed("No Hub token lies open")
    shown = [_exposed(secret) for secret in secrets[:_MOST]]
    return shown + ([_more(secrets[_MOST:])] if len(secrets) > _MOST else [])


def _exposed(secret: Secret) -> Outcome:
    if secret.kind == "file":
        return _readable(secret)
    return Outcome(
        Verdict.WARN,
        f"A {secret.kind} holds what looks like a Hub token",
        f"It stands in line {secret.line}. Such files are passed on, and the token with them.",
        subject=secret.path,
        evidence={"kind": secret.kind, "line": secret.line},
        fixes=(
            Repair(
                "revoke-token",
                "config",
                "manual",
                f"take it out of the file, and revoke it on {_TOKENS}",
            ),
        ),
    )


def _readable(secret: Secret) -> Outcome:
    who = {"everyone": "everyone on this machine", "group": "the members of its group"}
    return Outcome(
        Verdict.WARN,
        f"Your Hub token can be read by {who.get(secret.readable_by, 'others')}",
        "Whoever reads it can act on the Hub in your name. Where strangers use this machine, take "
        "it as read: revoke it and make a new one.",
        subject=secret.path,
        evidence={"kind": secret.kind, "readable_by": secret.readable_by},
        fixes=(
            Repair(
                "close-token",
                "config",
                "manual",
                f"let only you read it; revoke it on {_TOKENS} if others may have",
                (("chmod", "600", secret.path),),
            ),
        ),
    )


def _more(secrets: tuple[Secret, ...]) -> Outcome:
    return Outcome(
        Verdict.WARN,
        f"{len(secrets)} more files hold or show what looks like a Hub token",
        "They are named in the JSON report.",
        evidence={"files": tuple(secret.path for secret in secrets[:40])},
        fixes=(
            Repair(
                "revoke-token",
                "config",
                "manual",
                f"take it out of these files, and revoke it on {_TOKENS}",
            ),
        ),
    )
