"""The pages: what one may see, watched and found to the second, and nothing of anybody else's."""

import re
from uuid import uuid4

import pytest
from django.core.files.base import ContentFile
from django.urls import URLResolver, resolve, reverse

from tests.rows import completed_video, spoken_video
from videos.models import ACTIVE_STATES, Call, Run, Segment, Video
from videos.urls import urlpatterns

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _chat(settings):
    """A chat service, so that there are all pages; nobody asks it here."""
    settings.CHRONOS_CHAT_MODEL, settings.CHRONOS_CHAT_API_KEY = "chat", "sk-tests"


@pytest.fixture
def ada(client, creator):
    client.force_login(creator)
    return client


@pytest.fixture
def grace(django_user_model):
    return django_user_model.objects.create_user("grace", password="grace's password")


def text(response):
    return response.content.decode()


def addresses(video):
    """Every page there is, about one video where it is about one."""
    values = {"video_id": video.pk, "kind": "vtt", "upload_id": video.pk}
    values |= {"correction_id": video.pk, "unfit_id": 1, "key_id": video.pk, "token": "x"}
    for pattern in urlpatterns:
        if isinstance(pattern, URLResolver):
            continue  # The API, which knows no sessions.
        names = pattern.pattern.converters
        yield reverse(f"videos:{pattern.name}", kwargs={name: values[name] for name in names})


#: Pages that only take something: by POST or by the methods of tus.
TAKING = {
    *("videos:act", "videos:begin", "videos:resume", "videos:change", "videos:rename"),
    *("videos:dismiss", "videos:restore", "videos:revoke", "videos:wish", "videos:playable"),
}


def shown(video):
    """The pages that can be looked at."""
    return [each for each in addresses(video) if resolve(each).view_name not in TAKING]


def test_a_creator_sees_their_own_videos_on_every_page(ada, creator, tmp_path, settings):
    settings.MEDIA_ROOT = tmp_path
    video = completed_video(creator)
    video.file.storage.save("videos/none.mp4", ContentFile(b"x" * 100))

    video.thumbnail.save("thumbnail.jpg", ContentFile(b"x"), save=False)
    Video.objects.filter(pk=video.pk).update(thumbnail=video.thumbnail.name)

    for address in shown(video):
        answer = ada.get(address)
        answer.close()
        assert answer.status_code == 200
    assert "A talk" in text(ada.get("/"))


@pytest.mark.parametrize("who", ["nobody", "grace"])
def test_nobody_else_sees_anything_of_them(client, creator, grace, who):
    video = spoken_video(creator, ["A secret was told here."])
    if who == "grace":
        client.force_login(grace)

    for address in addresses(video):
        answer = client.get(address, {"q": "secret", "video": video.pk})
        assert answer.status_code in (200, 302, 404, 405)
        assert "A talk" not in text(answer)
        assert "told here" not in text(answer)
    about_it = [each for each in shown(video) if str(video.pk) in each]
    assert {client.get(each).status_code for each in about_it} <= {404, 302}


def test_who_opens_a_link_is_asked_to_sign_in_whether_it_leads_anywhere(client, creator, grace):
    there = reverse("videos:watch", args=[completed_video(creator).pk])
    nowhere = reverse("videos:watch", args=[uuid4()])

    for link in (there, nowhere):
        answer = client.get(f"{link}?t=5")
        assert answer.url == f"{reverse('login')}?next={link}%3Ft%3D5"
    client.force_login(grace)
    assert {client.get(link).status_code for link in (there, nowhere)} == {404}


def test_the_policy_of_the_project_decides(client, creator, grace, settings):
    settings.CHRONOS_VISIBLE_VIDEOS = "tests.test_pages.everything"
    video = completed_video(creator)
    client.force_login(grace)

    assert client.get(reverse("videos:watch", args=[video.pk])).status_code == 200


def everything(user):
    return Video.objects.all()


def test_the_library_says_how_far_a_video_is_and_why_it_failed(ada, creator):
    working = completed_video(creator)
    Video.objects.filter(pk=working.pk).update(status="transcribing", progress=0.4)
    Run.objects.create(
        function="f", stage="s", state="waiting", waiting_reason="rate", video=working
    )
    failed = completed_video(creator)
    Video.objects.filter(pk=failed.pk).update(status="failed", error="The file is <empty>.")

    page = text(ada.get("/"))

    assert '<progress value="40" max="100"' in page
    assert "many videos were started within a minute" in page
    assert "The file is &lt;empty&gt;." in page
    assert "data-live" in page


def test_a_list_that_is_done_asks_for_nothing_more(ada, creator):
    completed_video(creator)

    page = text(ada.get("/"))

    assert "data-live" not in page
    assert "library.js" not in page


def test_titles_can_be_filtered_and_pages_turned(ada, creator):
    for number in range(26):
        completed_video(creator)
        Video.objects.filter(title="A talk").update(title=f"Lesson {number}")

    assert len(re.findall('class="title"', text(ada.get("/")))) == 24
    assert len(re.findall('class="title"', text(ada.get("/", {"page": 2})))) == 2
    found = text(ada.get("/", {"q": "Lesson 25"}))
    assert "Lesson 25" in found
    assert "Lesson 24" not in found
    assert "No title contains" in text(ada.get("/", {"q": "Lesson <99>"}))


@pytest.mark.parametrize("page", ["library", "find", "watch"])
def test_pages_cost_the_same_queries_however_much_there_is(
    ada, creator, django_assert_num_queries, page
):
    def fetch():
        video = Video.objects.order_by("pk").first()
        arguments = [video.pk] if page == "watch" else []
        return ada.get(reverse(f"videos:{page}", args=arguments), {"q": "sentence"})

    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    completed_video(creator)
    fetch()
    with CaptureQueriesContext(connection) as few:
        fetch()
    for _ in range(15):
        completed_video(creator, segments=9)

    with django_assert_num_queries(len(few)):
        fetch()


def test_ten_thousand_videos_cost_the_queries_of_ten(ada, creator, django_assert_num_queries):
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    def fetch():
        for page, asked in (("library", {}), ("find", {"q": "sentence"})):
            assert ada.get(reverse(f"videos:{page}"), asked).status_code == 200

    for _ in range(10):
        completed_video(creator)
    fetch()
    with CaptureQueriesContext(connection) as ten:
        fetch()
    Video.objects.bulk_create(
        Video(creator=creator, title=f"A sentence, {number}", file="none.mp4", status="completed")
        for number in range(9_990)
    )

    with django_assert_num_queries(len(ten)):
        fetch()


def test_every_line_leads_to_its_second(ada, creator):
    video = spoken_video(creator, ["First.", "Second.", "Third."], start=10.0)
    Segment.objects.filter(index=1).update(doubt="unsure", speaker="Ada <b>")

    page = text(ada.get(reverse("videos:watch", args=[video.pk]), {"t": "15"}))

    assert re.findall(r'href="\?t=([\d.]+)"', page) == ["10.0", "15.0", "20.0"]
    assert f'src="{reverse("videos:media", args=[video.pk])}#t=15.0"' in page
    assert 'data-start="15.0" data-end="20.0" class="doubtful"' in page
    assert "<b>Ada &lt;b&gt;:</b> Second." in page
    assert 'kind="captions" srclang="en"' in page


@pytest.mark.parametrize("said", ["-1", "nan", "1e99", "x", "'\"><script>"])
def test_a_broken_deep_link_begins_at_the_beginning(ada, creator, said):
    video = completed_video(creator)

    page = text(ada.get(reverse("videos:watch", args=[video.pk]), {"t": said}))

    assert "#t=0.0" in page


def test_a_video_without_a_transcript_says_why(ada, upload):
    video = upload()

    assert "appears here once it is ready" in text(
        ada.get(reverse("videos:watch", args=[video.pk]))
    )


def test_moments_are_grouped_by_video_with_what_is_around_them(ada, creator):
    video = spoken_video(
        creator,
        ["We begin with rates.", "Compound interest grows <fast>.", "Then we stop."],
    )

    page = text(ada.get(reverse("videos:find"), {"q": "compound interest"}))

    assert f'href="{reverse("videos:watch", args=[video.pk])}?t=5.0"' in page
    assert "<mark>Compound</mark> <mark>interest</mark> grows &lt;fast&gt;." in page
    assert "We begin with rates." in page
    assert "Then we stop." in page


def test_one_video_can_be_searched_alone(ada, creator):
    one, other = spoken_video(creator, ["The moon."]), spoken_video(creator, ["The moon."])

    page = text(ada.get(reverse("videos:find"), {"q": "moon", "video": one.pk}))

    assert str(one.pk) in page
    assert str(other.pk) not in page
    assert ada.get(reverse("videos:find"), {"q": "moon", "video": "x"}).status_code == 404


def test_finding_nothing_says_what_was_searched(ada, creator):
    page = text(ada.get(reverse("videos:find"), {"q": "xylophone"}))

    assert "Nothing like it was found in the videos that you may see." in page


@pytest.mark.parametrize(
    ("kind", "begin"), [("vtt", "WEBVTT"), ("srt", "1\n00:"), ("txt", "This is"), ("json", '{"vid')]
)
def test_transcripts_come_in_every_format(ada, creator, kind, begin):
    video = completed_video(creator)
    address = reverse("videos:transcript", args=[video.pk, kind])

    assert text(ada.get(address)).startswith(begin)
    named = ada.get(address, {"download": ""})["Content-Disposition"]
    assert named == f'attachment; filename="a-talk.{kind}"'
    assert ada.get(reverse("videos:transcript", args=[video.pk, "exe"])).status_code == 404


def test_the_file_comes_in_ranges(ada, creator, tmp_path, settings):
    settings.MEDIA_ROOT = tmp_path
    video = completed_video(creator)
    video.file.storage.save("videos/none.mp4", ContentFile(bytes(range(100))))
    Video.objects.update(original_filename="talk.mp4")

    answer = ada.get(reverse("videos:media", args=[video.pk]), HTTP_RANGE="bytes=10-19")

    assert (answer.status_code, answer["Content-Range"]) == (206, "bytes 10-19/100")
    assert b"".join(answer.streaming_content) == bytes(range(10, 20))
    assert answer["Content-Type"] == "video/mp4"


def test_no_page_holds_code_or_styles_of_its_own(ada, creator):
    """A strict Content-Security-Policy, without 'unsafe-inline', lets all of it work."""
    video = completed_video(creator)

    for address in shown(video):
        if resolve(address).view_name in ("videos:media", "videos:thumbnail", "videos:transcript"):
            continue
        page = text(ada.get(address, {"q": "sentence"}))
        assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=|javascript:", page)


def test_people_sign_in_and_come_back_to_what_they_wanted(client, creator):
    video = completed_video(creator)
    wanted = reverse("videos:find") + "?q=sentence"

    (address,) = re.findall(r'href="(/login/[^"]*)"', text(client.get(wanted)))
    done = client.post(
        "/login/",
        {"username": "ada", "password": "ada's password", "next": wanted},
        follow=True,
    )

    assert "next=%2Fsearch%2F%3Fq%3Dsentence" in address
    assert str(video.pk) in text(done)
    assert "Sign in to see your videos." in text(client.post("/logout/", follow=True))


def test_a_failed_video_has_the_button_that_mends_it(ada, creator):
    for code in ("no_audio", "unreadable_captions", "service_unavailable"):
        video = completed_video(creator)
        Video.objects.filter(pk=video.pk).update(
            status="failed", error_code=code, error=code, title=code
        )

    rows = text(ada.get("/", {"status": "failed"})).split('<li class="video')[1:]
    offered = {
        re.search("no_audio|unreadable_captions|service_unavailable", row)[0]: re.search(
            "Go on|Another file|Other captions", row
        )[0]
        for row in rows
    }

    assert offered == {
        "no_audio": "Another file",
        "unreadable_captions": "Other captions",
        "service_unavailable": "Go on",
    }


def test_the_library_shows_what_videos_cost_and_can_be_narrowed(ada, creator):
    completed_video(creator)
    Call.objects.update(cost_usd="0.0123")

    assert "$0.0123" in text(ada.get("/", {"status": "ready"}))
    assert "There are none of this kind." in text(ada.get("/", {"status": "working"}))


def test_chosen_videos_are_processed_again_together(ada, creator):
    videos = [completed_video(creator) for _ in range(2)]
    ids = [video.pk for video in videos]

    ada.post(reverse("videos:act"), {"action": "again", "video": ids})

    assert Run.objects.filter(video__in=ids, state__in=ACTIVE_STATES).count() == 2
    page = text(ada.post(reverse("videos:act"), {"action": "cancel", "video": ids}, follow=True))
    assert "Being cancelled: 2 videos." in page
    ada.post(reverse("videos:act"), {"resume": ids[0]})
    assert Run.objects.filter(video=ids[0], state__in=ACTIVE_STATES).count() == 1


def test_deleting_asks_first(ada, creator):
    video = completed_video(creator)
    asked = {"action": "delete", "video": video.pk}

    assert "Delete this video?" in text(ada.post(reverse("videos:act"), asked))
    assert Video.objects.exists()
    ada.post(reverse("videos:act"), {**asked, "confirmed": "1"})
    assert not Video.objects.exists()


def test_nobody_changes_the_videos_of_another(client, creator, grace):
    video = completed_video(creator)
    client.force_login(grace)
    for action in ("again", "cancel", "delete", "nonsense", ""):
        asked = {"action": action, "video": [video.pk, "x"], "confirmed": "1"}
        client.post(reverse("videos:act"), asked)
    manage = reverse("videos:manage", args=[video.pk])

    assert client.post(manage, {"action": "details", "title": "Mine"}).status_code == 404
    assert Video.objects.get().title == "A talk"
    assert not Run.objects.filter(state__in=ACTIVE_STATES).exists()


def test_seeing_is_not_changing(client, creator, grace, settings):
    settings.CHRONOS_VISIBLE_VIDEOS = "tests.test_pages.everything"
    video = completed_video(creator)
    client.force_login(grace)

    assert "videos/manage" not in text(client.get("/"))
    assert "/manage/" not in text(client.get(reverse("videos:watch", args=[video.pk])))
    assert client.get(reverse("videos:manage", args=[video.pk])).status_code == 404


def test_a_video_gets_another_title_captions_and_file(ada, creator, tmp_path, settings):
    settings.MEDIA_ROOT = tmp_path
    video = completed_video(creator)
    manage = reverse("videos:manage", args=[video.pk])
    srt = ContentFile(b"1\n00:00:01,000 --> 00:00:02,000\nHello.\n", name="a.srt")

    ada.post(manage, {"action": "details", "title": "Renamed <b>"})
    assert "Renamed &lt;b&gt;" in text(ada.get(manage))
    ada.post(manage, {"action": "captions", "captions": srt})
    ada.post(manage, {"action": "replace", "file": ContentFile(b"another", name="new.mp3")})

    video.refresh_from_db()
    with video.file.open() as file:
        assert file.read() == b"another"
    assert (video.original_filename, video.title) == ("new.mp3", "Renamed <b>")
    assert video.captions.name.startswith(video.folder)
    states = list(video.runs.order_by("created_at").values_list("state", flat=True))
    assert states[:2] == ["completed", "replaced"]
    assert states[2] in ACTIVE_STATES
    refused = ada.post(manage, {"action": "replace", "file": ContentFile(b"x", name="new.exe")})
    assert "neither a video nor a recording" in text(refused)


def test_a_search_is_narrowed_to_creators_languages_times_and_lengths(
    client, creator, grace, settings
):
    settings.CHRONOS_VISIBLE_VIDEOS = "tests.test_pages.everything"
    one = spoken_video(creator, ["The moon."])
    other = spoken_video(grace, ["The moon."], language="de")
    Video.objects.filter(pk=other.pk).update(duration_s=7_200, created_at="2020-01-01T00:00Z")
    client.force_login(creator)

    def found(**narrowed):
        page = text(client.get(reverse("videos:find"), {"q": "moon", **narrowed}))
        return {video.pk for video in (one, other) if f"/v/{video.pk}/?t=" in page}

    assert found() == {one.pk, other.pk}
    assert found(creator="grace") == found(creator=grace.pk) == {other.pk}
    assert found(creator="nobody") == set()
    assert found(language="de") == {other.pk}
    assert found(since="2021-01-01") == {one.pk}
    assert found(until="2021-01-01") == {other.pk}
    assert found(longer=60) == {other.pk}
    assert found(shorter=60) == {one.pk}
    # What cannot be read is said, and narrows nothing.
    assert found(since="yesterday", longer="x") == {one.pk, other.pk}


def test_titles_are_suggested_of_what_one_may_see(ada, creator, grace):
    spoken_video(creator, ["The moon."])
    theirs = spoken_video(grace, ["The moon."])
    Video.objects.filter(pk=theirs.pk).update(title="A talk that is secret")

    suggested = ada.get(reverse("videos:suggest"), {"q": "tal"}).json()

    assert suggested == {"titles": ["A talk"]}
    assert ada.get(reverse("videos:suggest"), {"q": "\0"}).json() == {"titles": []}


def test_scripts_can_ask_for_the_words_alone(ada, creator, openai):
    spoken_video(creator, ["The moon."])

    page = text(ada.get(reverse("videos:find"), {"q": "moon", "words": "1"}))

    assert "<mark>moon</mark>" in page
    assert 'data-better="?q=moon"' in page
    assert openai.embedded() == []
    assert "data-better" not in text(ada.get(reverse("videos:find"), {"q": "moon"}))


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("90", "90.0"),
        ("1:30", "90.0"),
        ("1:01:30.5", "3690.5"),
        ("1m30s", "90.0"),
        ("2h", "7200.0"),
    ],
)
def test_deep_links_are_read_as_people_write_times(ada, creator, said, seconds):
    video = completed_video(creator)

    page = text(ada.get(reverse("videos:watch", args=[video.pk]), {"t": said}))

    assert f"#t={seconds}" in page


def test_what_was_not_done_is_not_claimed(ada, creator):
    video = completed_video(creator)

    none = text(ada.post(reverse("videos:act"), {"action": "delete"}, follow=True))
    ended = {"action": "cancel", "video": video.pk}
    assert "Choose videos first." in none
    assert "Being cancelled: 0 videos." in text(ada.post(reverse("videos:act"), ended, follow=True))
    empty = ada.post(reverse("videos:manage", args=[video.pk]), {"action": "details", "title": ""})
    assert empty.status_code == 400
    assert Video.objects.get().title == "A talk"


def test_captions_can_be_given_up_for_recognition(ada, creator, tmp_path, settings):
    settings.MEDIA_ROOT = tmp_path
    video = completed_video(creator)
    video.captions.save("captions", ContentFile(b"x"), save=False)
    Video.objects.update(captions=video.captions.name)

    page = text(ada.get(reverse("videos:manage", args=[video.pk])))
    ada.post(reverse("videos:act"), {"action": "recognize", "video": video.pk})

    assert "Recognize what is said instead" in page
    assert Video.objects.get().captions.name == ""
    assert Run.objects.filter(video=video, state__in=ACTIVE_STATES).count() == 1
