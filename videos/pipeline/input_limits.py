"""How many texts an embedding server takes in one request: as set, or as it was found out."""

from __future__ import annotations

from videos.conf import conf
from videos.models import ProbedModel

_KEY = "max_inputs"


def max_inputs(model: str) -> int:
    """Return how many texts a call may hold."""
    rows = ProbedModel.objects.filter(base_url=_base_url(), model=model)
    learned: list[int] = list(rows.values_list(f"capability__{_KEY}", flat=True))
    return min([conf().embedding_max_inputs, *filter(None, learned)])


def remember(model: str, count: int) -> None:
    """Have later calls hold no more than `count` texts."""
    ProbedModel.objects.update_or_create(
        base_url=_base_url(), model=model, defaults={"capability": {_KEY: count}}
    )


def _base_url() -> str:
    return conf().embedding_base_url or ""
