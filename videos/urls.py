"""The pages for creators and learners: `path("", include("videos.urls"))`."""

from __future__ import annotations

from django.urls import path

from videos.pages import managing, uploading, views

app_name = "videos"
urlpatterns = [
    path("", views.library, name="library"),
    path("search/", views.find, name="find"),
    path("v/<uuid:video_id>/", views.watch, name="watch"),
    path("act/", managing.act, name="act"),
    path("upload/", uploading.upload, name="upload"),
    path("upload/begin/", uploading.begin, name="begin"),
    path("upload/<uuid:upload_id>/", uploading.resume, name="resume"),
    path("v/<uuid:video_id>/manage/", managing.manage, name="manage"),
    path("v/<uuid:video_id>/thumbnail.jpg", views.thumbnail, name="thumbnail"),
    path("v/<uuid:video_id>/media/", views.media, name="media"),
    path("v/<uuid:video_id>/transcript.<str:kind>", views.transcript, name="transcript"),
]
