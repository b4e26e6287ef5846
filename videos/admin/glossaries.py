"""Glossaries in the admin: what creators' recordings are about."""

from __future__ import annotations

from django.contrib import admin

from videos.admin.scope import Scoped
from videos.models import Glossary


@admin.register(Glossary)
class GlossaryAdmin(Scoped, admin.ModelAdmin):  # type: ignore[type-arg]
    """A creator's names and words, for models that take them."""

    list_display = ("creator", "prompt")
    list_select_related = ("creator",)
    raw_id_fields = ("creator",)
