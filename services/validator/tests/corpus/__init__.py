"""Hostile and honest files, built when they are needed and never stored."""

from __future__ import annotations

from .assembly import Attack, Payload

__all__ = ["Attack", "Payload", "every_attack"]


def every_attack() -> list[Attack]:
    """Every attack of every family."""
    from . import advisories, answers, callables, containers, elsewhere, formats, gadgets, markup, opcodes, predicting

    families = (opcodes, callables, gadgets, answers, predicting, containers, formats, elsewhere, markup, advisories)
    return [attack for module in families for attack in module.attacks()]
