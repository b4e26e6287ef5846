"""The player, the transcript and the search in a host's own templates, and the Python interface."""

from pathlib import Path

import pytest
from django.template import Context, Template
from django.test import RequestFactory
from django.urls import reverse

from tests.rows import spoken_video
from videos.models import Video

pytestmark = pytest.mark.django_db


@pytest.fixture
def video(creator):
    video = spoken_video(creator, ["Compound <interest> grows.", "It does."], start=1.0)
    Video.objects.update(original_filename="talk.mp4")
    video.refresh_from_db()
    return video


def render(source, query="", **context):
    request = RequestFactory().get(f"/course/{query}")
    return Template("{% load videos %}" + source).render(Context({"request": request, **context}))


def test_a_player_begins_where_the_address_says(video):
    page = render("{% video_player video %}", "?t=5", video=video)

    assert f'src="{reverse("videos:media", args=[video.pk])}#t=5.0"' in page
    assert 'kind="captions" srclang="en"' in page


def test_a_transcript_leads_to_seconds(video):
    page = render("{% video_transcript video %}", video=video)

    assert 'data-start="1.0"' in page
    assert "Compound &lt;interest&gt; grows." in page
    assert "watch.js" in page


def test_a_search_is_for_all_for_a_creator_or_for_one_video(video, creator):
    page = render(
        "{% video_search %}{% video_search creator=creator %}{% video_search video=video %}",
        creator=creator,
        video=video,
    )

    assert page.count(f'action="{reverse("videos:find")}"') == 3
    assert f'name="creator" value="{creator.pk}"' in page
    assert f'name="video" value="{video.pk}"' in page
    ids = [part.split('"')[0] for part in page.split('<input id="')[1:]]
    assert len({*ids}) == 3


def test_styles_touch_nothing_of_the_host():
    assert "videos/embed.css" in render("{% video_styles %}")
    from django.contrib.staticfiles import finders

    rules = Path(finders.find("videos/embed.css")).read_text()
    selectors = [
        part.strip()
        for rule in rules.split("}")[:-1]
        for part in rule.rpartition("{")[0].split(",")
    ]
    assert [
        each for each in selectors if each and ".chronos" not in each and not each.startswith("@")
    ] == []


def test_what_the_product_makes_is_there_in_python(video, creator, openai):
    assert [segment.text for segment in video.segments] == [
        *("Compound <interest> grows.", "It does."),
    ]
    assert video.as_vtt().startswith("WEBVTT")
    assert "00:00:01,000 --> " in video.as_srt()
    assert "It does." in video.as_text()
    (moment,) = Video.moments("compound interest", limit=1)
    assert (moment.video, moment.start) == (video, 1.0)
    assert list(Video.moments("compound", Video.objects.none())) == []
    assert list(Video(creator=creator).segments) == []
