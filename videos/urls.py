"""The pages for creators and learners: `path("", include("videos.urls"))`."""

from __future__ import annotations

from django.urls import path

from videos.pages import views

app_name = "videos"
urlpatterns = [
    path("", views.library, name="library"),
    path("search/", views.find, name="find"),
    path("v/<uuid:video_id>/", views.watch, name="watch"),
    path("v/<uuid:video_id>/media/", views.media, name="media"),
    path("v/<uuid:video_id>/transcript.<str:kind>", views.transcript, name="transcript"),
]
