"""The pages in a real Chromium: uploads that go on, playback by the second, no violation of WCAG.

Left out where there is no Chromium (Debian's package `chromium`).
"""

import gzip
import hashlib
import shutil
import struct

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.core.files import File
from django.urls import reverse
from playwright.sync_api import expect

from tests.conftest import ended, eventually
from tests.media import make_audio
from tests.rows import spoken_video
from videos.models import Segment, Upload, Video
from videos.pipeline import corrections
from videos.pipeline.corrections import Seen

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("chromium"), reason="there is no Chromium"),
]
MIB = 1024**2
LARGE = 300 * MIB


def large_video(clip, folder):
    """The clip with a box of 300 MiB behind it that players leave out (ISO 14496-12, `free`)."""
    path = folder / "large.mp4"
    shutil.copy(clip, path)
    size = path.stat().st_size
    with path.open("ab") as file:
        file.write(struct.pack(">I4s", LARGE, b"free"))
        file.truncate(size + LARGE)
    return path


def sha256(stream):
    return hashlib.file_digest(stream, "sha256").hexdigest()


def test_a_large_upload_goes_on_after_the_browser_and_the_server_were_killed(
    sign_in, site, clip, tmp_path, worker
):
    path = large_video(clip, tmp_path)
    page = sign_in()
    page.goto("/upload/")
    line = page.context.new_cdp_session(page)
    line.send("Network.enable")
    slow = {"offline": False, "latency": 0, "downloadThroughput": -1}
    line.send("Network.emulateNetworkConditions", {**slow, "uploadThroughput": 60 * MIB})
    page.set_input_files("[name=recordings]", path)
    page.click("main button.main")
    eventually(lambda: Upload.objects.filter(offset__gte=LARGE // 2).exists(), 60)
    site.kill()
    page.context.browser.close()

    before = Upload.objects.get().offset
    site.start()
    # Its lease runs out, as nobody could say that it was given up.
    page = sign_in()
    page.goto("/upload/")
    expect(page.locator("#uploads")).to_contain_text("choose large.mp4 again")
    offsets = []
    page.on("request", lambda sent: offsets.append(sent.headers.get("upload-offset")))
    page.set_input_files("[name=recordings]", path)
    page.click("main button.main")
    expect(page.locator("#uploads li")).to_contain_text("being processed", timeout=120_000)

    first = next(int(offset) for offset in offsets if offset)
    assert first >= before >= LARGE // 2
    video = ended(Video.objects.get())
    assert (video.status, video.error) == ("completed", "")
    with path.open("rb") as sent, video.file.open() as stored:
        assert sha256(sent) == sha256(stored)


def test_an_upload_pauses_goes_on_and_is_removed(sign_in, clip, tmp_path):
    path = large_video(clip, tmp_path)
    page = sign_in()
    page.goto("/upload/")
    line = page.context.new_cdp_session(page)
    line.send("Network.enable")
    slow = {"offline": False, "latency": 0, "downloadThroughput": -1}
    line.send("Network.emulateNetworkConditions", {**slow, "uploadThroughput": 20 * MIB})
    page.set_input_files("[name=recordings]", path)
    page.click("main button.main")
    item = page.locator("#uploads li")
    expect(item).to_contain_text("uploading", timeout=20_000)

    item.get_by_role("button", name="Pause").click()
    expect(item).to_contain_text("paused")
    item.get_by_role("button", name="Go on").click()
    expect(item).to_contain_text("uploading", timeout=40_000)
    item.get_by_role("button", name="Remove").click()

    expect(item).to_have_count(0)
    eventually(lambda: not Upload.objects.exists())


def test_what_an_upload_will_cost_is_told_before(sign_in, clip, tmp_path):
    page = sign_in()
    page.goto("/upload/")
    estimate = page.locator("#estimate")
    expect(estimate).to_contain_text("An hour of recording costs about $0.36")

    page.set_input_files("[name=recordings]", large_video(clip, tmp_path))
    expect(estimate).to_contain_text("These 1 minutes cost about $0.01")

    page.set_input_files("[name=recordings]", make_audio(tmp_path / "hour.m4a", 3_600))
    expect(estimate).to_contain_text("These 60 minutes cost about $0.36")

    (tmp_path / "talk.mp4").write_bytes(b"no film at all" * 9)
    page.set_input_files("[name=recordings]", tmp_path / "talk.mp4")
    expect(estimate).to_contain_text("An hour of recording costs")


def test_the_library_follows_the_work_without_being_loaded_again(sign_in, clip, creator, worker):
    page = sign_in()
    page.evaluate("window.isStillHere = true")
    page.goto("/upload/")
    page.set_input_files("[name=recordings]", clip)
    page.click("main button.main")
    page.locator("#uploads").get_by_role("link").click()
    page.evaluate("window.isStillHere = true")

    expect(page.locator(".video.completed")).to_have_count(1, timeout=30_000)

    assert page.evaluate("window.isStillHere")
    expect(page.locator(".video img")).to_be_visible()


def recording(creator, clip, seconds=5):
    """A completed video whose file plays."""
    video = spoken_video(creator, ["First words.", "Then photosynthesis.", "Last words."], start=1)
    with clip.open("rb") as content:
        video.file.save("clip.mp4", File(content), save=False)
    Video.objects.filter(pk=video.pk).update(
        file=video.file.name, original_filename="clip.mp4", duration_s=8
    )
    return video


def test_a_question_leads_to_the_second_in_which_it_was_answered(sign_in, clip, creator):
    recording(creator, clip)
    page = sign_in()

    page.fill("header [name=q]", "photosynthesis")
    page.press("header [name=q]", "Enter")
    page.locator("a.moment").first.click()

    page.wait_for_function("document.getElementById('player').currentTime >= 6")
    assert page.evaluate("document.getElementById('player').currentTime") == pytest.approx(6, abs=1)
    expect(page.locator("#transcript [aria-current]")).to_contain_text("photosynthesis")


def test_lines_are_followed_until_the_reader_scrolls(sign_in, clip, creator):
    video = recording(creator, clip)
    page = sign_in()
    page.goto(reverse("videos:watch", args=[video.pk]))

    page.locator("#transcript li").nth(1).click()
    page.wait_for_function("document.getElementById('player').currentTime >= 6")
    assert "t=6" in page.url
    page.locator("#transcript").hover()
    page.mouse.wheel(0, 100)
    expect(page.locator("#follow")).to_be_visible()
    page.keyboard.press("f")
    expect(page.locator("#follow")).to_be_hidden()
    page.keyboard.press("?")
    expect(page.locator("#help")).to_be_visible()


def test_no_connection_is_told_and_the_upload_goes_on_by_itself(sign_in, site, clip, tmp_path):
    path = large_video(clip, tmp_path)
    page = sign_in()
    page.goto("/upload/")
    page.set_input_files("[name=recordings]", path)
    site.kill()
    page.click("main button.main")
    expect(page.locator("#uploads li .error")).to_be_visible()
    site.start()

    page.set_input_files("[name=recordings]", path)
    page.click("main button.main")
    expect(page.locator("#uploads li")).to_contain_text("being processed", timeout=60_000)


def test_a_line_is_corrected_split_and_joined_by_keys(sign_in, clip, creator):
    video = recording(creator, clip)
    page = sign_in()
    page.goto(reverse("videos:edit", args=[video.pk]))
    areas = page.locator(".lines textarea")

    areas.nth(1).click()
    page.keyboard.press("Control+a")
    page.keyboard.type("Then photosynthesis, corrected.")
    page.keyboard.press("Tab")
    expect(page.locator(".lines .state").nth(1)).to_have_text("saved")
    page.wait_for_function("document.getElementById('player').currentTime >= 11 || true")
    assert Segment.objects.get(index=1).text == "Then photosynthesis, corrected."

    areas.nth(1).click()
    page.keyboard.press("Home")
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    expect(areas).to_have_count(4)
    assert [row.text for row in Segment.objects.all()][1:3] == [
        "Then",
        "photosynthesis, corrected.",
    ]
    page.keyboard.press("Backspace")
    expect(areas).to_have_count(3)
    assert Segment.objects.get(index=1).text == "Then photosynthesis, corrected."
    page.keyboard.press("Control+z")
    page.wait_for_load_state()
    expect(areas).to_have_count(4)


def test_two_editors_are_told_of_each_other(sign_in, clip, creator):
    video = recording(creator, clip)
    pages = [sign_in(), sign_in()]
    for page in pages:
        page.goto(reverse("videos:edit", args=[video.pk]))
    for number, page in enumerate(pages):
        page.locator(".lines textarea").first.fill(f"By {number}.")
        page.locator(".lines textarea").nth(1).focus()
        page.wait_for_timeout(0)
        expect(page.locator(".lines .state").first).not_to_be_empty()
    state = pages[1].locator(".lines .state").first

    expect(state).to_contain_text("Somebody else has changed this line meanwhile")
    state.get_by_role("button", name="Keep mine").click()
    expect(state).to_have_text("saved")
    assert Segment.objects.get(index=0).text == "By 1."


WCAG = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}
PAGES = ["", "upload/", "search/?q=photosynthesis", "ask/", "replace/?find=words&by=terms", "keys/"]
ABOUT = ["", "manage/", "edit/", "history/"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_no_page_violates_wcag_overflows_or_complains(sign_in, clip, creator, scheme, width):
    video = recording(creator, clip)
    failed = spoken_video(creator, ["Nothing."])
    Video.objects.filter(pk=failed.pk).update(status="failed", error="It broke.", error_code="x")
    Video.objects.update(title=f"Photosynthesis_{'a' * 180}.mp4")
    corrections.rewrite(video, creator, Seen(video.segments[0].pk, 0), "Corrected words.")
    page = sign_in(color_scheme=scheme, viewport={"width": width, "height": 844})
    said, wrong = [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))

    for path in [*PAGES, *(f"v/{video.pk}/{each}" for each in ABOUT)]:
        page.goto(f"/{path}")
        for violation in Axe().run(page, options=WCAG).response["violations"]:
            wrong.append((path, violation["id"], [node["html"] for node in violation["nodes"]][:2]))
        if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
            wrong.append((path, "overflows", width))

    assert wrong == []
    assert said == []


def test_a_strict_content_security_policy_lets_all_of_it_work(sign_in, clip, creator, site):
    video = recording(creator, clip)
    page = sign_in()
    policy = "default-src 'self'; object-src 'none'; base-uri 'none'"

    def strictly(route):
        answer = route.fetch()
        headers = {**answer.headers, "content-security-policy": policy}
        route.fulfill(response=answer, headers=headers)

    said = []
    page.on("console", lambda message: said.append(message.text))
    page.route(lambda address: "/static/" not in address and "/media/" not in address, strictly)
    for path in [*PAGES, *(f"v/{video.pk}/{each}" for each in ABOUT)]:
        page.goto(f"/{path}")
        page.wait_for_load_state("networkidle")
    page.goto(f"/v/{video.pk}/")
    page.locator("#transcript li").nth(1).click()
    page.wait_for_function("document.getElementById('player').currentTime >= 6")

    assert [each for each in said if "Content Security Policy" in each] == []


def test_scripts_are_small(sign_in, clip, creator):
    video = recording(creator, clip)
    page = sign_in()
    sizes = {}

    def add(response):
        if response.request.resource_type == "script":
            sizes[response.url] = len(gzip.compress(response.body()))

    page.on("response", add)
    for path in [*PAGES, *(f"v/{video.pk}/{each}" for each in ABOUT)]:
        sizes.clear()
        page.goto(f"/{path}")
        page.wait_for_load_state("networkidle")
        assert sum(sizes.values()) < 120 * 1024, (path, sizes)


def test_words_are_found_first_where_the_service_is_slow(sign_in, clip, creator, openai):
    recording(creator, clip)
    page = sign_in()
    openai.gate.clear()
    try:
        page.fill("header [name=q]", "photosynthesis")
        page.press("header [name=q]", "Enter")
        eventually(openai.embedded)
        expect(page.locator("a.moment").first).to_be_visible(timeout=5_000)
        assert "words" not in page.url
    finally:
        openai.gate.set()

    expect(page.locator("#found[data-better]")).to_have_count(0)
    expect(page.locator("a.moment").first).to_be_visible()
