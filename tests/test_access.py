"""One policy decides who sees what."""

import pytest
from django.contrib.auth.models import AnonymousUser

from tests.rows import completed_video
from videos.access import visible_videos
from videos.models import Video

pytestmark = pytest.mark.django_db


def everything(user):
    return Video.objects.all()


def test_creators_see_their_own_and_nobody_elses(creator, django_user_model):
    mine = completed_video(creator)
    completed_video(django_user_model.objects.create_user("bob"))

    assert list(visible_videos(creator)) == [mine]
    assert not visible_videos(AnonymousUser()).exists()


def test_a_platform_swaps_its_own_rule_in(creator, django_user_model, settings):
    settings.CHRONOS_VISIBLE_VIDEOS = "tests.test_access.everything"
    completed_video(creator)

    assert visible_videos(django_user_model.objects.create_user("bob")).count() == 1
