"""The example: a course platform, with enrolment as its access policy."""

import os
import subprocess
import sys

import pytest
from courses.models import Course, Lesson
from django.urls import URLResolver, get_resolver, reverse

from tests.conftest import PROJECT
from tests.environment import clean
from tests.rows import spoken_video
from videos.models import Segment, Video

pytestmark = pytest.mark.django_db(transaction=True)
SECRET = "The secret of lesson one."


@pytest.fixture(autouse=True)
def platform(settings):
    settings.ROOT_URLCONF = "courses.urls"
    settings.LOGIN_URL = "login"
    settings.CHRONOS_CHAT_MODEL, settings.CHRONOS_CHAT_API_KEY = "chat", "sk-tests"
    settings.TEMPLATES = [{**settings.TEMPLATES[0], "DIRS": []}]
    for name, policy in {
        "CHRONOS_VISIBLE_VIDEOS": "visible_videos",
        "CHRONOS_EDIT_POLICY": "editable_videos",
        "CHRONOS_UPLOAD_POLICY": "may_upload",
    }.items():
        setattr(settings, name, f"courses.policies.{policy}")


@pytest.fixture
def people(django_user_model, creator):
    make = django_user_model.objects.create_user
    return {
        "teacher": creator,
        "enrolled": make("enrolled"),
        "other student": make("other"),
        "other teacher": make("hypatia"),
        "staff": make("staff", is_staff=True),
        "admin": django_user_model.objects.create_superuser("root"),
    }


@pytest.fixture
def lesson(people):
    course = Course.objects.create(title="Physics", teacher=people["teacher"])
    course.students.add(people["enrolled"])
    theirs = Course.objects.create(title="Other", teacher=people["other teacher"])
    theirs.students.add(people["other student"])
    video = spoken_video(people["teacher"], [SECRET, "And more."])
    return Lesson.objects.create(course=course, video=video)


#: Who sees what is in a lesson's video; who changes it.
SEES = {"teacher", "enrolled"}
CHANGES = {"teacher"}
WHO = ["nobody", "teacher", "enrolled", "other student", "other teacher", "staff", "admin"]


def enter(client, people, who):
    if who != "nobody":
        client.force_login(people[who])


def every_page_of(video):
    """Every address of the pages of videos, whatever methods it takes."""
    values = {
        **{
            "video_id": video.pk,
            "kind": "vtt",
            "upload_id": video.pk,
            "unfit_id": 1,
            "key_id": video.pk,
            "token": "x",
        },
        "correction_id": video.pk,
    }
    namespace = get_resolver("courses.urls").namespace_dict["videos"][1]
    for pattern in namespace.url_patterns:
        if isinstance(pattern, URLResolver):
            continue  # The API, which knows no sessions.
        names = pattern.pattern.converters
        yield reverse(f"videos:{pattern.name}", kwargs={name: values[name] for name in names})


@pytest.mark.parametrize("who", WHO)
def test_nothing_of_a_lesson_is_seen_by_who_is_not_enrolled(client, people, lesson, who):
    enter(client, people, who)
    video, leaks = lesson.video, set()

    for address in every_page_of(video):
        asked = {"q": "secret", "find": "secret", "by": "x"}
        for answer in (client.get(address, asked), client.post(address, asked)):
            body = b"".join(answer) if answer.streaming else answer.content
            if SECRET.encode() in body or b"A talk" in body or str(video.pk).encode() in body:
                leaks.add(address)
            answer.close()

    assert bool(leaks) == (who in SEES)


@pytest.mark.parametrize("who", WHO)
def test_nothing_of_a_lesson_is_changed_by_who_does_not_teach_it(client, people, lesson, who):
    enter(client, people, who)
    segment = Segment.objects.get(index=0)
    seen = {"line": segment.pk, "line_version": 0, "text": "Changed.", "do": "text"}

    client.post(reverse("videos:change", args=[lesson.video.pk]), seen)
    changed = Segment.objects.get(index=0).text == "Changed."
    client.post(
        reverse("videos:act"), {"action": "delete", "confirmed": 1, "video": lesson.video.pk}
    )

    assert changed == (who in CHANGES)
    assert Video.objects.exists() == (who not in CHANGES)


@pytest.mark.parametrize("who", WHO)
def test_only_teachers_upload(client, people, lesson, who):
    enter(client, people, who)

    answer = client.post(reverse("videos:begin"), {"filename": "a.mp4", "size": 10})

    assert (answer.status_code == 201) == (who in ("teacher", "other teacher"))


def test_a_lesson_has_its_player_transcript_and_search(client, people, lesson):
    enter(client, people, "enrolled")

    page = client.get(reverse("lesson", args=[lesson.pk])).content.decode()

    assert reverse("videos:media", args=[lesson.video.pk]) in page
    assert SECRET in page
    assert f'name="video" value="{lesson.video.pk}"' in page


def test_a_teacher_makes_a_video_a_lesson(client, people, lesson):
    enter(client, people, "teacher")
    video = spoken_video(people["teacher"], ["Lesson two."])
    course = lesson.course

    assert str(video.pk) in client.get(reverse("course", args=[course.pk])).content.decode()
    client.post(reverse("add_lesson", args=[course.pk]), {"video": video.pk})
    assert course.lessons.count() == 2
    enter(client, people, "other teacher")
    assert client.get(reverse("course", args=[course.pk])).status_code == 404
    assert client.get(reverse("lesson", args=[lesson.pk])).status_code == 404


def test_the_project_stands_by_itself():
    environment = clean(dict(os.environ)) | {
        "PYTHONPATH": str(PROJECT),
        "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none",
        "OPENAI_API_KEY": "sk-tests",
    }
    done = subprocess.run(
        [sys.executable, "manage.py", "check", "--fail-level", "ERROR"],
        cwd=PROJECT / "examples" / "courses",
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == 0, done.stderr
