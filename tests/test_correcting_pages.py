"""The pages on which transcripts are corrected: with scripts and without, and whose they are."""

import pytest
from django.urls import reverse

from tests.rows import spoken_video
from videos.models import Correction, Glossary, Segment, UnfitCorrection

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def ada(client, creator):
    client.force_login(creator)
    return client


@pytest.fixture
def video(creator):
    return spoken_video(creator, ["First <b> line.", "Second line.", "Third line."])


def at(name, video, *others):
    return reverse(f"videos:{name}", args=[video.pk, *others])


def text(response):
    return response.content.decode()


def said():
    return list(Segment.objects.order_by("index").values_list("text", flat=True))


def change(client, video, do, line, **fields):
    seen = {"line": line.pk, "line_version": line.version}
    return client.post(at("change", video), {"do": do, **seen, **fields})


def test_every_line_can_be_edited_and_says_whether_it_was(ada, video):
    Segment.objects.filter(index=1).update(
        machine_text="Sekond <line>.", speaker="Grace", doubt="x"
    )

    page = text(ada.get(at("edit", video)))

    assert "First &lt;b&gt; line.</textarea>" in page
    assert 'class="corrected" title="Sekond &lt;line&gt;."' in page
    assert "<option>Grace</option>" in page
    assert 'class="doubtful"' in page


def test_a_form_without_scripts_saves_what_was_changed(ada, video):
    rows = list(Segment.objects.order_by("index"))
    fields = {f"text-{row.pk}": row.text for row in rows}
    fields |= {f"version-{row.pk}": row.version for row in rows}
    fields[f"text-{rows[1].pk}"] = "Second line, corrected."

    page = text(ada.post(at("edit", video), fields, follow=True))
    again = text(
        ada.post(at("edit", video), {**fields, f"text-{rows[1].pk}": "Too late."}, follow=True)
    )

    assert "1 line was saved." in page
    assert "Somebody else has changed this line meanwhile." in again
    assert said()[1] == "Second line, corrected."


def test_a_line_is_changed_split_joined_and_given_a_speaker(ada, video):
    first = Segment.objects.get(index=0)

    (line,) = change(ada, video, "text", first, text="One two.").json()["lines"]
    assert (line["text"], line["version"]) == ("One two.", 1)
    first.refresh_from_db()
    one, two = change(ada, video, "split", first, at=3).json()["lines"]
    assert (one["text"], two["text"]) == ("One", "two.")
    first.refresh_from_db()
    following = {"next": two["id"], "next_version": two["version"]}
    (whole,) = change(ada, video, "join", first, **following).json()["lines"]
    assert whole["text"] == "One two."
    first.refresh_from_db()
    (line,) = change(ada, video, "speaker", first, speaker="Ada").json()["lines"]
    assert line["speaker"] == "Ada"
    assert [each.user_name for each in Correction.objects.all()] == ["ada"] * 4


def test_an_older_version_is_a_conflict_that_shows_the_newer(ada, video):
    first = Segment.objects.get(index=0)
    change(ada, video, "text", first, text="Newer.")

    answer = change(ada, video, "text", first, text="Older.")

    assert answer.status_code == 409
    assert answer.json()["lines"][0]["text"] == "Newer."


@pytest.mark.parametrize(
    "fields", [{"do": "text", "line": "x"}, {"do": "burn"}, {}, {"do": "split", "line": 1}]
)
def test_what_cannot_be_read_is_refused(ada, video, fields):
    assert ada.post(at("change", video), fields).status_code == 400


def test_what_a_person_took_back_is_as_before(ada, video):
    first = Segment.objects.get(index=0)
    change(ada, video, "text", first, text="Changed.")
    correction = Correction.objects.get()

    page = text(ada.get(at("history", video)))
    assert "<del>First &lt;b&gt; line</del><ins>Changed</ins>" in page
    assert "Take back" in page
    address = at("restore", video, correction.pk)
    assert "as it was before" in text(ada.post(address, follow=True))
    assert said()[0] == "First <b> line."
    assert ada.post(address).status_code == 404
    change(ada, video, "text", Segment.objects.get(index=0), text="Once.")
    once = Correction.objects.first()
    change(ada, video, "text", Segment.objects.get(index=0), text="Twice.")
    refused = ada.post(at("restore", video, once.pk), headers={"Accept": "application/json"})
    assert refused.status_code == 409


def test_words_are_shown_before_they_are_replaced(ada, video, creator):
    other = spoken_video(creator, ["A line of <another>."])
    asked = {"find": "line", "by": "sentence", "whole_words": "on"}

    page = text(ada.get(reverse("videos:replace"), asked))
    assert "<del>line</del><ins>sentence</ins>" in page
    assert "Change these 4 lines" in page
    assert "&lt;another&gt;" in page
    assert "Change these 3 lines" in text(
        ada.get(reverse("videos:replace"), {**asked, "video": video.pk})
    )
    chosen = Segment.objects.exclude(index=1).values_list("pk", flat=True)
    done = {**asked, "line": list(chosen), "add_to_glossary": "on"}
    page = text(ada.post(reverse("videos:replace"), done, follow=True))

    assert "3 lines were changed." in page
    assert sorted(said()) == [
        *("A sentence of <another>.", "First <b> sentence.", "Second line.", "Third sentence."),
    ]
    assert Glossary.objects.get(creator=creator).term_list == ["sentence"]
    assert Correction.objects.filter(video=other).count() == 1


def test_replacing_finds_nothing_and_says_so(ada, video):
    assert "No line holds it." in text(ada.get(reverse("videos:replace"), {"find": "zebra"}))


def test_a_speaker_is_renamed_by_a_form(ada, video):
    Segment.objects.update(speaker="A")

    page = text(ada.post(at("rename", video), {"old": "A", "new": "Ada"}, follow=True))

    assert "3 lines were changed." in page
    assert "<option>Ada</option>" in page


def test_corrections_without_a_place_are_listed_and_dismissed(ada, video):
    unfit = UnfitCorrection.objects.create(
        video=video, start=1, end=2, text="<mine>", machine_text="theirs"
    )

    assert "<del>theirs</del> <ins>&lt;mine&gt;</ins>" in text(ada.get(at("edit", video)))
    ada.post(at("dismiss", video, unfit.pk))
    assert not UnfitCorrection.objects.exists()


def test_nobody_else_reads_or_changes_anything(client, video, creator, django_user_model, settings):
    settings.CHRONOS_VISIBLE_VIDEOS = "tests.test_pages.everything"
    first = Segment.objects.get(index=0)
    client.force_login(creator)
    change(client, video, "text", first, text="Mine.")
    correction = Correction.objects.get()
    client.force_login(django_user_model.objects.create_user("grace"))

    assert change(client, video, "text", first, text="Hers.").status_code == 404
    assert client.post(at("rename", video), {"old": "", "new": "x"}).status_code == 404
    assert client.post(at("restore", video, correction.pk)).status_code == 404
    assert client.get(at("history", video)).status_code == 404
    assert client.get(at("edit", video)).status_code == 404
    asked = {"find": "Mine", "by": "Hers", "line": [first.pk]}
    assert "Mine." not in text(client.get(reverse("videos:replace"), asked))
    client.post(reverse("videos:replace"), asked)
    assert client.get(reverse("videos:replace"), {"video": video.pk}).status_code == 404
    assert said()[0] == "Mine."


def test_the_editor_costs_the_same_queries_for_any_length(ada, creator, video):
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    long = spoken_video(creator, ["A line."] * 200)
    counts = []
    for each in (video, long):
        with CaptureQueriesContext(connection) as queries:
            ada.get(at("edit", each))
        counts.append(len(queries))

    assert counts[0] == counts[1]
