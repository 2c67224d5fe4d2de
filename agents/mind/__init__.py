"""The model port: structured answers within limits; `model.py` alone imports litellm."""

from __future__ import annotations
