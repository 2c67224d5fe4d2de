"""Agents in processes of their own: what their code may do, it does to nobody else."""

from __future__ import annotations
