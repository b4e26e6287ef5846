"""What is done once a transaction is committed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.db import transaction


def after_commit(call: Callable[..., object], *args: Any, **kwargs: Any) -> None:
    """Call once the transaction that is open is committed; an error of the call is logged.

    Not by `functools.partial`: Django 5.2 fails while it logs an error of one.
    """
    transaction.on_commit(lambda: call(*args, **kwargs), robust=True)
