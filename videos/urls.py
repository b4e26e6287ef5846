"""The pages for creators and learners, and the API: `path("", include("videos.urls"))`."""

from __future__ import annotations

from django.urls import include, path

from videos.pages import asking, correcting, emailing, finding, keys, managing, uploading, views

app_name = "videos"
urlpatterns = [
    path("", views.library, name="library"),
    path("api/v1/", include("videos.api.urls")),
    path("", include("videos.monitoring.urls")),
    path("search/", finding.find, name="find"),
    path("ask/", asking.ask, name="ask"),
    path("suggest/", finding.suggest, name="suggest"),
    path("v/<uuid:video_id>/", views.watch, name="watch"),
    path("act/", managing.act, name="act"),
    path("upload/", uploading.upload, name="upload"),
    path("upload/begin/", uploading.begin, name="begin"),
    path("upload/<uuid:upload_id>/", uploading.resume, name="resume"),
    path("v/<uuid:video_id>/manage/", managing.manage, name="manage"),
    path("emails/", emailing.wish, name="wish"),
    path("emails/<str:token>/", emailing.unsubscribe, name="unsubscribe"),
    path("keys/", keys.keys, name="keys"),
    path("keys/<uuid:key_id>/", keys.revoke, name="revoke"),
    path("replace/", correcting.replace, name="replace"),
    path("v/<uuid:video_id>/edit/", correcting.edit, name="edit"),
    path("v/<uuid:video_id>/edit/line/", correcting.change, name="change"),
    path("v/<uuid:video_id>/edit/speaker/", correcting.rename, name="rename"),
    path("v/<uuid:video_id>/edit/unfit/<int:unfit_id>/", correcting.dismiss, name="dismiss"),
    path("v/<uuid:video_id>/history/", correcting.history, name="history"),
    path("v/<uuid:video_id>/history/<uuid:correction_id>/", correcting.restore, name="restore"),
    path("v/<uuid:video_id>/thumbnail.jpg", views.thumbnail, name="thumbnail"),
    path("v/<uuid:video_id>/playable/", views.playable, name="playable"),
    path("v/<uuid:video_id>/media/", views.media, name="media"),
    path("v/<uuid:video_id>/transcript.<str:kind>", views.transcript, name="transcript"),
]
