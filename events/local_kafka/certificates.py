"""Whose certificates a download trusts."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable

_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


def fetch_trusting_the_machine(fetch: Callable[[], None]) -> None:
    """Call `fetch`; if it meets an unknown certificate, again with those that this machine trusts.

    jgo's client trusts a list of its own, in which a company's certificates are missing. The
    environment is the only way to tell it otherwise; what the user set there stays.
    """
    try:
        fetch()
    except OSError as error:
        paths = ssl.get_default_verify_paths()
        trusted = paths.cafile or paths.capath
        unknown = isinstance(root_cause(error), ssl.SSLCertVerificationError)
        if not unknown or not trusted or any(name in os.environ for name in _VARIABLES):
            raise
        os.environ[_VARIABLES[0]] = trusted
        try:
            fetch()
        finally:
            del os.environ[_VARIABLES[0]]


def root_cause(error: BaseException) -> BaseException:
    """The end of a chain of exceptions, which says what happened without saying it five times."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__ or error
    return error
