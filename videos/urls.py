"""The app's pages."""

from __future__ import annotations

from django.urls import URLPattern

app_name = "videos"
urlpatterns: list[URLPattern] = []
