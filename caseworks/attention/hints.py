"""Commands that mend: words as a shell takes them, whatever an id holds. Pure."""

from __future__ import annotations

from shlex import quote


def command(*words: str, of: str | None = None, **options: str | None) -> str:
    """A command of ours, e.g. `command("dlq", "replay", agent="triage")`.

    Args:
        words: The command and its flags.
        of: What it is about, as its argument.
        options: With a value; those without one are left out.

    What holds an unprintable character cannot be typed: such an option is left out, and of an
    argument only the command stays, with `--help`.
    """
    typed = ["caseworks", *words]
    for name, value in options.items():
        if value and value.isprintable():
            typed.append(f"--{name.replace('_', '-')}={quote(value)}")
    if of is None:
        return " ".join(typed)
    if not of or not of.isprintable():
        return " ".join(["caseworks", *words, "--help"])
    return " ".join([*typed, *(["--"] if of.startswith("-") else []), quote(of)])
