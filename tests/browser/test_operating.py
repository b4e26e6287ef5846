"""A night of an operator: eleven tasks, each walked in at most four clicks from the index."""

import shutil

import pytest
from playwright.sync_api import expect

from tests.conftest import ended, eventually
from tests.openai_server import Fault
from tests.rows import completed_video
from videos import events
from videos.models import Budget, Event, Pause, Run, Video, Worker

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("chromium"), reason="there is no Chromium"),
]
MAX_CLICKS = 4
PHONE = {"width": 390, "height": 844}


class Walk:
    """A page that counts what is clicked since the index; what is typed is no click."""

    def __init__(self, page):
        self.page = page
        self.begin()

    def begin(self):
        self.page.goto("/admin/")
        self.clicks = 0

    def click(self, target):
        (self.page.locator(target) if isinstance(target, str) else target).first.click()
        self.clicks += 1

    def link(self, name, within="body"):
        self.click(self.page.locator(within).get_by_role("link", name=name))

    def button(self, name):
        self.click(self.page.get_by_role("button", name=name))

    def choose(self, select, value):
        self.page.select_option(select, value)
        self.clicks += 1

    def sees(self, text):
        expect(self.page.locator("body")).to_contain_text(text)

    def done(self):
        assert self.clicks <= MAX_CLICKS
        self.begin()


@pytest.fixture
def walk(sign_in, creator):
    creator.is_staff = creator.is_superuser = True
    creator.save()
    return Walk(sign_in())


ROOM = "#control-room"


def test_it_is_well_or_says_what_is_not(walk):
    walk.sees("No worker is alive")

    assert walk.clicks == 0


def test_why_a_run_waits_and_who_has_what_it_waits_for(walk, creator, settings):
    Worker.objects.create(pid=7, host="alpha", threads=1, last_seen="2999-01-01T00:00Z")
    Run.objects.create(
        function="process_video", stage="transcribe", creator=creator, waiting_reason="concurrency"
    )
    walk.begin()

    walk.link("concurrency", ROOM)
    walk.click("#result_list tbody th a")

    walk.sees("CHRONOS_CREATOR_CONCURRENCY")
    walk.done()


def test_failures_of_the_service_are_retried_and_those_of_files_are_not(
    walk, creator, upload, worker, openai, tmp_path
):
    openai.faults.append(Fault(status=400, path="transcriptions", times=2))
    mendable = [ended(upload(language=language)) for language in ("en", "de")]
    lost = completed_video(creator)
    Video.objects.filter(pk=lost.pk).update(status="failed", error_code="no_audio", error="None.")
    walk.begin()
    walk.sees("2 video(s) failed in the last hour: rejected")

    walk.link("See and retry", ROOM)
    walk.button("Reprocess all that match")
    walk.sees("2 videos selected")
    walk.click("input[type=submit]")

    walk.sees("2 of 2 videos are being reprocessed")
    walk.done()
    for video in mendable:
        assert ended(video).status == "completed"
    lost.refresh_from_db()
    assert lost.status == "failed"


def test_the_timeline_of_a_run_with_its_cost(walk, upload, worker):
    ended(upload())

    walk.link("Runs", "#content")
    walk.click("#result_list tbody th a")

    expect(walk.page.locator(".timeline svg rect.call").first).to_be_attached()
    walk.sees("2 calls, $")
    walk.done()


def test_a_run_is_cancelled(walk, upload):
    video = upload()

    walk.link("Runs", "#content")
    walk.click("#result_list tbody th a")
    walk.button("Cancel")

    eventually(lambda: Run.objects.get(video=video).state == "cancelled")
    walk.done()


def test_a_video_is_deleted_while_it_is_processed(walk, upload, worker, openai):
    openai.gate.clear()
    video = upload()
    eventually(openai.transcribed)

    walk.link("Videos", "#content .model-video")
    walk.click("#result_list tbody th a")
    walk.click(".deletelink")
    walk.click("input[type=submit]")

    eventually(lambda: not Video.objects.filter(pk=video.pk).exists())
    openai.gate.set()
    walk.done()


def test_fifteen_videos_are_embedded_again_with_price_progress_and_end(
    walk, creator, worker, openai
):
    videos = [completed_video(creator) for _ in range(15)]
    walk.begin()

    walk.link("Videos", "#content .model-video")
    walk.button("Reprocess all that match")
    walk.sees("15 videos selected")
    walk.click("#stage-embed")
    walk.click("input[type=submit]")

    walk.sees("15 of 15 videos are being reprocessed")
    again = Run.objects.filter(function="reembed_video", video__in=videos)
    eventually(lambda: again.filter(state="completed").count() == 15)
    walk.page.reload()
    expect(walk.page.locator("#result_list progress").first).to_have_attribute("value", "1.0")
    walk.done()


def test_what_a_month_of_a_creator_costs_beside_the_budget(walk, upload, creator, worker):
    Budget.objects.create(creator=creator, month_usd=5)
    ended(upload())
    walk.begin()

    walk.sees("of $5.00")
    walk.link("Budgets", ROOM)

    walk.sees("budget of ada")
    walk.done()


def test_an_event_is_sent_and_watched(walk, creator, worker):
    video = completed_video(creator)

    walk.click(".model-event .addlink")
    walk.link("video/embed.requested")
    walk.page.fill("[name=video_id]", str(video.pk))
    walk.page.fill("[name=creator_id]", str(creator.pk))
    walk.click("input[type=submit]")
    event = eventually(Event.objects.filter(name="video/embed.requested").first)
    walk.click(f"a[href*='{event.runs.get().pk}']")

    walk.sees("reembed_video")
    walk.done()


def test_a_creator_is_paused_and_a_worker_drained(walk, creator, worker):
    eventually(Worker.objects.exists)
    walk.click(".model-pause .addlink")
    walk.choose("[name=kind]", "creator")
    walk.page.fill("[name=creator]", str(creator.pk))
    walk.page.fill("[name=why]", "deployment")
    walk.click("[name=_save]")
    assert Pause.objects.get().by == "ada"
    walk.done()
    walk.sees("Paused: creator ada")

    walk.link("Workers", ROOM)
    walk.click("#action-toggle")
    walk.choose("[name=action]", "drain")
    walk.button("Go")

    walk.sees("1 worker(s) asked to end")
    assert Worker.objects.get().drain_requested
    walk.done()


def test_it_is_read_on_a_phone_by_night(sign_in, creator, upload, worker, openai):
    creator.is_staff = creator.is_superuser = True
    creator.save()
    openai.faults.append(Fault(status=400, path="transcriptions"))
    ended(upload())
    events.send("letters/greeting.requested", {"name": "Ada", "diary": ""})
    walk = Walk(sign_in(color_scheme="dark", viewport=PHONE))
    walk.sees("1 video(s) failed in the last hour: rejected")

    for path in ["", "videos/run/", "videos/video/", "videos/worker/", "videos/budget/"]:
        walk.page.goto(f"/admin/{path}")
        assert walk.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
    walk.begin()
    walk.link("See and retry", ROOM)
    walk.click("#result_list tbody th a")
    walk.sees("refused the input")
    walk.done()
