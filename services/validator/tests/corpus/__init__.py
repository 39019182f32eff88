"""Hostile and honest files, built when they are needed and never stored."""

from __future__ import annotations

from .assembly import Attack, Payload

__all__ = ["Attack", "Payload", "every_attack"]


def every_attack() -> list[Attack]:
    """Every attack of every family."""
    from . import advisories, answers, callables, containers, formats, gadgets, markup, opcodes, predicting

    return [
        attack
        for module in (opcodes, callables, gadgets, answers, predicting, containers, formats, markup, advisories)
        for attack in module.attacks()
    ]
