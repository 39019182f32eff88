"""Presidio in the worker: recognisers of many countries over texts, and names of people where a spaCy model is there.

It is asked for what policy lists, and for nothing else: many of its recognisers take any number of ten digits for
something. Every recogniser is used for every text, whatever the language it is meant for, because a column does not say
which language it is in.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np

from vallum_validator.sandbox.frames import Array

_LANGUAGE: Final = "en"
"""A label that engine, recognisers and model have in common, and no statement about any text."""
_PATTERNS: Final = (".predefined_recognizers.country_specific.", ".predefined_recognizers.generic.")


class Presidio:
    """An analyser of texts.

    Args:
        entities: what it looks for, in Presidio's names.
        score: the least that counts.
        model: a spaCy pipeline, by the name of its package or the path of its folder; empty for none.

    Raises:
        ValueError: there is no such model, or it finds no such entity.
    """

    def __init__(self, entities: Sequence[str], score: float, model: str) -> None:
        _stay_offline()
        from presidio_analyzer import AnalyzerEngine, RecognizerRegistry

        engine = _model(model) if model else _no_model()
        registry = RecognizerRegistry(recognizers=_recognisers(), supported_languages=[_LANGUAGE])
        if model:
            registry.add_nlp_recognizer(engine)
        self._analyzer = AnalyzerEngine(registry=registry, nlp_engine=engine, supported_languages=[_LANGUAGE])
        known = set(self._analyzer.get_supported_entities())
        unknown = [entity for entity in entities if entity not in known]
        if unknown:
            raise ValueError(f"it finds no entity {unknown[0]!r}; it finds {', '.join(sorted(known))}")
        self._entities = list(entities)
        self._score = score
        self.versions = {"presidio-analyzer": version("presidio-analyzer"), **_version_of(model, engine)}

    def find(self, texts: Sequence[str], context: Sequence[str]) -> dict[str, Array]:
        """Every place where it finds something.

        Args:
            texts: each looked at by itself.
            context: words that stand for the texts' surroundings, e.g. the name of their column.

        Returns:
            `row`, `entity`, `recogniser`, `score`, one of each for every place; a row is an index of `texts`.
        """
        hits = [
            (row, hit.entity_type, str(hit.recognition_metadata["recognizer_name"]), float(hit.score))
            for row, text in enumerate(texts)
            for hit in self._analyzer.analyze(
                text, _LANGUAGE, entities=self._entities, score_threshold=self._score, context=list(context)
            )
        ]
        return {
            "row": np.array([hit[0] for hit in hits], dtype=np.int32),
            "entity": np.array([hit[1] for hit in hits], dtype=object),
            "recogniser": np.array([hit[2] for hit in hits], dtype=object),
            "score": np.array([hit[3] for hit in hits], dtype=np.float64),
        }


def _stay_offline() -> None:
    """The list of top-level domains is the one that came with its package: by default it is fetched, and cached."""
    import tldextract

    tldextract.extract = tldextract.TLDExtract(cache_dir=None, suffix_list_urls=())


def _recognisers() -> list[Any]:
    """Every recogniser of forms, those of countries among them; most are off in Presidio's own configuration."""
    from presidio_analyzer import predefined_recognizers

    kinds = [kind for _, kind in sorted(vars(predefined_recognizers).items()) if _knows_a_form(kind)]
    return [kind(supported_language=_LANGUAGE) for kind in kinds]


def _knows_a_form(kind: object) -> bool:
    from presidio_analyzer import LocalRecognizer

    return (
        inspect.isclass(kind)
        and issubclass(kind, LocalRecognizer)
        and any(room in kind.__module__ for room in _PATTERNS)
    )


def _no_model() -> Any:
    from presidio_analyzer.nlp_engine import NoOpNlpEngine

    return NoOpNlpEngine(models=[{"lang_code": _LANGUAGE, "model_name": "none"}])


def _model(name: str) -> Any:
    import spacy
    from presidio_analyzer.nlp_engine import SpacyNlpEngine

    # Presidio would fetch one that is not there.
    if not (spacy.util.is_package(name) or Path(name).is_dir()):
        raise ValueError(f"no spaCy model {name!r} is installed here")
    engine = SpacyNlpEngine(models=[{"lang_code": _LANGUAGE, "model_name": name}])
    engine.load()
    return engine


def _version_of(model: str, engine: Any) -> Mapping[str, str]:
    if not model:
        return {}
    meta = engine.get_nlp(_LANGUAGE).meta
    return {"model": f"{meta.get('lang')}_{meta.get('name')} {meta.get('version')}"}
