"""The platform's addresses, and those of Chronos under /videos/."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path

from courses import views

urlpatterns = [
    path("", views.home, name="home"),
    path("courses/<int:course_id>/", views.course, name="course"),
    path("courses/<int:course_id>/lessons/", views.add_lesson, name="add_lesson"),
    path("lessons/<int:lesson_id>/", views.lesson, name="lesson"),
    path("videos/", include("videos.urls")),
    path("admin/", admin.site.urls),
]
