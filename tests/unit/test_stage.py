from __future__ import annotations

import socket
from pathlib import Path

import pytest

from caseworks.cli.up import first_event, sample_of
from caseworks.loading import load_app
from caseworks.stage import alone, api_port
from events.errors import SetupError
from events.settings import Settings


def test_one_system_at_a_time_holds_a_data_folder(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data")
    other = Settings(data_dir=tmp_path / "data", namespace="other")
    with alone(settings):
        with pytest.raises(SetupError, match=r"runs on .* already"), alone(settings):
            pass
        with alone(other):
            pass
    with alone(settings):
        pass


def test_a_data_folder_that_cannot_be_made_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    settings = Settings(data_dir=tmp_path / "file" / "data")
    with pytest.raises(SetupError, match="cannot write to"), alone(settings):
        pass


def test_the_sample_event_of_an_app_is_valid() -> None:
    app = load_app("tests.unit.shop_app:app")
    event_type, schema = first_event(app)
    assert sample_of(schema) == {"item": "aaa", "price": 1}
    app.data_types[event_type].validate_python(sample_of(schema))


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "integer", "minimum": 7}, 7),
        ({"anyOf": [{"type": "boolean"}, {"type": "null"}]}, True),
        ({"enum": ["x", "y"], "type": "string"}, "x"),
        ({"type": "array", "items": {"type": "string"}}, []),
        ({"type": "string", "minLength": 5}, "aaaaa"),
        ({"type": "string", "format": "date"}, "2026-01-31"),
        ({"$ref": "#/$defs/A", "$defs": {"A": {"type": "object", "properties": {}}}}, {}),
    ],
)
def test_a_sample_fits_its_schema(schema: dict[str, object], value: object) -> None:
    assert sample_of(schema) == value


def test_the_api_takes_another_port_unless_somebody_chose_one() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        chosen = Settings(api_port=port)
        usual = chosen.model_copy()
        usual.model_fields_set.discard("api_port")

        with pytest.raises(SetupError, match="CASEWORKS_API_PORT"):
            api_port(chosen)
        assert api_port(usual) not in (0, port)
        assert api_port(Settings(api_port=0)) > 0
