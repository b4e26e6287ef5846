"""The platform's addresses, and those of Chronos under /videos/."""

from __future__ import annotations

from django.contrib import admin
from django.contrib.auth.views import LoginView, LogoutView
from django.urls import include, path

from courses import views

urlpatterns = [
    path("", views.home, name="home"),
    path("courses/<int:course_id>/", views.course, name="course"),
    path("courses/<int:course_id>/lessons/", views.add_lesson, name="add_lesson"),
    path("lessons/<int:lesson_id>/", views.lesson, name="lesson"),
    path("login/", LoginView.as_view(template_name="courses/login.html"), name="login"),
    path("logout/", LogoutView.as_view(), name="logout"),
    path("videos/", include("videos.urls")),
    path("admin/", admin.site.urls),
]
