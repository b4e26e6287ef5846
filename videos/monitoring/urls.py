"""Included with the pages, or by itself where only workers are watched."""

from __future__ import annotations

from django.urls import path

from videos.monitoring import views

urlpatterns = [
    path("healthz", views.healthz, name="healthz"),
    path("readyz", views.readyz, name="readyz"),
    path("metrics", views.metrics, name="metrics"),
]
