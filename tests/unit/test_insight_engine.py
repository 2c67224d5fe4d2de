"""What the engine makes of settings for Kafka's clients."""

from __future__ import annotations

import subprocess
import sys

import pytest

from events.errors import SetupError

pytest.importorskip("faust", reason="the extra `insight` is not installed")


def test_clear_text_needs_no_credentials() -> None:
    from caseworks.insight.engine import credentials_of

    assert credentials_of({}) is None
    assert credentials_of({"security.protocol": "PLAINTEXT"}) is None


def test_a_login_by_scram_is_handed_on() -> None:
    from caseworks.insight.engine import credentials_of

    found = credentials_of(
        {
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": "SCRAM-SHA-512",
            "sasl.username": "me",
            "sasl.password": "secret",
        }
    )
    assert (found.protocol.value, found.mechanism.value) == ("SASL_SSL", "SCRAM-SHA-512")
    assert (found.username, found.password) == ("me", "secret")


def test_a_login_that_faust_cannot_do_is_refused() -> None:
    from caseworks.insight.engine import credentials_of

    with pytest.raises(SetupError, match="GSSAPI"):
        credentials_of({"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "GSSAPI"})


def test_the_command_line_costs_no_import_of_faust() -> None:
    code = "import sys, caseworks.cli.root, caseworks.insight.role; print('faust' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
