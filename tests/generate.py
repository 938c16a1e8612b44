"""Writes what is generated from the declarations: schemas/, docs/cli.md, docs/resources.md. `--check` only compares."""

from __future__ import annotations

import inspect
import json
import os
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def schemas() -> dict[str, str]:
    """File names under the root and contents of the JSON Schemas."""
    from zctl.plan.schema import any_manifest_schema, host_state_schema, manifest_schema, set_schema
    from zctl.resources.registry import all_classes
    from zctl.resources.spec import spec_model

    classes = sorted((c for c in all_classes() if c.manifest and not c.read_only), key=lambda c: c.__name__)
    found = {
        f"schemas/v1/{cls.__name__}.json": manifest_schema(
            cls.__name__, spec_model(cls, "create"), inspect.getdoc(cls) or "", cls.name_pattern
        )
        for cls in classes
    }
    kinds = [cls.__name__ for cls in classes]
    found["schemas/v1/Set.json"] = set_schema(kinds)
    found["schemas/v1/manifest.json"] = any_manifest_schema([*kinds, "Set"])
    found["schemas/v1/hoststate.json"] = host_state_schema()
    return {name: json.dumps(schema, indent=2) + "\n" for name, schema in found.items()}


def commands() -> list[list[str]]:
    """Every command, as words."""
    import typer

    from zctl.cli.main import COMMANDS, command_app
    from zctl.cli.nouns import noun_app
    from zctl.resources.registry_index import noun_files

    found: list[list[str]] = [[]]
    for name in sorted(COMMANDS):
        command = typer.main.get_command(command_app(name))
        found += [[name], *([name, verb] for verb in getattr(command, "commands", {}))]
    for noun in sorted(noun_files()):
        found += [[noun], *([noun, str(command.name)] for command in noun_app(noun).registered_commands)]
    return found


def cli_reference() -> str:
    """docs/cli.md: what --help says of each command."""
    from typer.testing import CliRunner

    from zctl.cli.main import app

    lines = [
        "# Command line reference",
        "",
        "Generated from the declarations by `./dev generate`; a test keeps it up to date.",
        "",
        "Exit codes of every command: 0 done, 1 failed, 2 misuse (also for values that are not legal).",
        "",
    ]
    runner = CliRunner()
    for words in commands():
        answer = runner.invoke(app, [*words, "--help"], prog_name="zctl", env={"COLUMNS": "80", "TERMINAL_WIDTH": "80"})
        assert answer.exit_code == 0, (words, answer.output)
        lines += [
            f"{'##' if len(words) < 2 else '###'} {' '.join(['zctl', *words])}",
            "",
            "```text",
            answer.output.strip(),
            "```",
            "",
        ]
    return "\n".join(line.rstrip() for line in "\n".join(lines).split("\n"))


def resource_reference() -> str:
    """docs/resources.md: every resource type with its fields."""
    from zctl.resources.base import attrs, public_name
    from zctl.resources.registry import all_classes
    from zctl.resources.spec import is_required

    words = {"always": "any time", "create": "at creation", "never": "by zctl"}
    gone = {
        "refuse": "refused while in use",
        "cascade": "with `--cascade`",
        "owned": "goes with it",
        "detach": "reference is cut",
    }
    lines = [
        "# Resource types",
        "",
        "Generated from the declarations by `./dev generate`; a test keeps it up to date.",
        "",
    ]
    for cls in sorted(all_classes(), key=lambda c: c.noun):
        lines += [
            f"## {cls.noun}",
            "",
            f"{inspect.getdoc(cls)} Kind: `{cls.__name__}`.",
            "",
            "| field | set | meaning | when the other is deleted |",
            "|---|---|---|---|",
        ]
        for field, about in attrs(cls).items():
            if about.listed == "hidden":
                continue
            public = public_name(field)
            required = not cls.read_only and about.when != "never" and is_required(cls, public)
            unit = f" ({about.unit})" if about.unit else ""
            legal = f"; one of {', '.join(about.choices)}" if about.choices else ""
            target = f"; a {about.ref}" if about.ref else ""
            lines.append(
                f"| `{public}`{' *' if required else ''} | {words[about.when]} | {about.help}{unit}{legal}{target} |"
                f" {gone[about.on_delete] if about.ref else ''} |"
            )
        for name, given in cls.inputs.items():
            lines.append(f"| `{name}` | at creation and update | {given.help} | |")
        for name, computed in cls.computed.items():
            lines.append(f"| `{name}` | computed | {computed.help} | |")
        lines.append("")
    lines += ["`*` marks what a creation must give.", ""]
    return "\n".join(lines)


def everything() -> dict[str, str]:
    """All generated files."""
    return {**schemas(), "docs/cli.md": cli_reference(), "docs/resources.md": resource_reference()}


def stale() -> list[str]:
    """The generated files that differ from what is in the tree."""
    return [
        name for name, text in everything().items() if not (ROOT / name).exists() or (ROOT / name).read_text() != text
    ]


def main() -> None:
    """Write or compare."""
    os.environ["COLUMNS"] = "80"
    if "--check" in sys.argv:
        old = stale()
        sys.exit(f"not up to date: {', '.join(old)} (run ./dev generate)" if old else 0)
    for name, text in everything().items():
        path = ROOT / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


if __name__ == "__main__":
    main()
