"""Can others read a secret of this user?"""

from __future__ import annotations

from klein_doctor.installation import Secret
from klein_doctor.model import Facts, Harm, Outcome, Repair, Unknown, Verdict
from klein_doctor.outcomes import passed, unknown
from klein_doctor.recipe import Recipe
from klein_doctor.registry import check


@check(
    "secrets-exposed",
    family="security",
    title="No Hub token lies open",
    harm=Harm.NOTE,
    reads="The rights of the Hugging Face token file, and whether launchers and workflows hold "
    "something that looks like a token. The token itself is never kept or shown.",
    why="A token lets others download and upload in your name. Launchers and workflows are files "
    "people pass on. Nothing here needs one: the 4B model is open to all.",
    by_hand="Revoke the token on https://huggingface.co/settings/tokens, make a new one if you "
    "need it, and keep it in its own file, readable by you alone.",
)
def secrets_exposed(facts: Facts, recipe: Recipe) -> list[Outcome] | Outcome:
    if isinstance(facts.secrets, Unknown):
        return unknown("Whether a Hub token lies open is not known", facts.secrets)
    if not facts.secrets.value:
        return passed("No Hub token lies open")
    return [_exposed(secret) for secret in facts.secrets.value[:5]]


def _exposed(secret: Secret) -> Outcome:
    if secret.kind == "file":
        who = "everyone on this machine" if secret.readable_by == "everyone" else "its group"
        return Outcome(
            Verdict.WARN,
            f"Your Hub token can be read by {who}",
            "Whoever reads it can act on the Hub in your name.",
            subject=secret.path,
            evidence={"kind": secret.kind, "readable_by": secret.readable_by},
            fixes=(
                Repair(
                    "close-token",
                    "config",
                    "manual",
                    "let only you read it",
                    (("chmod", "600", secret.path),),
                ),
            ),
        )
    return Outcome(
        Verdict.WARN,
        f"A {secret.kind} holds what looks like a Hub token",
        f"It stands in line {secret.line}. Such files are passed on, and the token with them.",
        subject=secret.path,
        evidence={"kind": secret.kind, "line": secret.line},
        fixes=(
            Repair("revoke-token", "config", "manual", "revoke it and take it out of the file"),
        ),
    )
