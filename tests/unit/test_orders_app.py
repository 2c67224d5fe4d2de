"""The example of the workflow language: its two forms say the same."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel

from caseworks import App
from caseworks.shadowing import ROOT
from examples.orders import app
from schemas.workflow import ApprovalSpec, LoopSpec, MapSpec, StepSpec, WaitSpec, WorkflowSpec
from tests.unit.command_line import CommandLine

FOLDER = ROOT / "examples" / "orders"
FILE = FOLDER / "order.yaml"


def twin(path: Path) -> App:
    """An app with the same agents that reads its workflow from a file."""
    made = App("twin")
    for agent in app.agents.values():
        made.agent(timeout_s=agent.spec.timeout_s)(agent.function)
    made.load_workflow(path)
    return made


def test_the_file_and_the_code_declare_the_same_workflow() -> None:
    [in_code], [in_file] = app.workflows, twin(FILE).workflows

    assert in_file == in_code
    assert twin(FILE).plans[0].spec.version == app.plans[0].spec.version


def test_a_changed_file_is_another_workflow(tmp_path: Path) -> None:
    path = tmp_path / "order.yaml"
    path.write_text(FILE.read_text().replace("concurrency: 5", "concurrency: 6"))

    assert twin(path).workflows != app.workflows


def test_both_forms_pass_their_checks() -> None:
    for args in ([str(FILE), "--app", "examples.orders:app"], ["--app", "examples.orders:app"]):
        assert CommandLine()("workflow", "lint", *args).code == 0
        assert CommandLine()("workflow", "price", *args).code == 0


def test_the_example_uses_all_that_the_language_has_to_show() -> None:
    steps = app.workflows[0].steps

    for part in ("map", "loop", "wait", "approval", "when", "undo"):
        assert any(getattr(step, part) is not None for step in steps), part


def test_the_picture_in_the_readme_is_that_of_the_workflow() -> None:
    drawn = CommandLine()("workflow", "graph", str(FILE)).out.strip()

    assert f"```mermaid\n{drawn}\n```" in (FOLDER / "README.md").read_text(encoding="utf-8")


def test_the_readme_lists_every_key_with_its_default() -> None:
    rows = (FOLDER / "README.md").read_text(encoding="utf-8")
    keys = dict(defaults_of(WorkflowSpec, {"data_schemas", "version"}))
    keys |= defaults_of(StepSpec, {"name", "map", "loop", "wait", "approval"})
    for part, model in (("map", MapSpec), ("loop", LoopSpec), ("wait", WaitSpec)):
        keys |= {f"{part}.{key}": default for key, default in defaults_of(model, set()).items()}
    keys |= {f"approval.{key}": d for key, d in defaults_of(ApprovalSpec, set()).items()}

    assert len(keys) > 35
    for key, default in keys.items():
        assert f"\n| `{key}` | {default} | " in rows, key


def defaults_of(model: type[BaseModel], but: set[str]) -> dict[str, str]:
    """The fields of a model and their defaults, as the README writes them."""
    found: dict[str, str] = {}
    for name, info in model.model_fields.items():
        default = info.get_default(call_default_factory=True)
        if info.is_required():
            found[name] = "required"
        elif isinstance(default, bool):
            found[name] = "yes" if default else "no"
        elif isinstance(default, float):
            found[name] = f"{default:g}"
        else:
            found[name] = str(default or "none")
    return {name: shown for name, shown in found.items() if name not in but}


def test_the_example_is_short_enough_to_copy() -> None:
    for name, most in (("app.py", 150), ("order.yaml", 50)):
        assert len((FOLDER / name).read_text(encoding="utf-8").splitlines()) <= most
