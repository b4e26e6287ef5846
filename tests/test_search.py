"""Search: the right moment, of the right creator, at a constant cost."""

import threading
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pgvector import HalfVector

from tests.conftest import eventually
from tests.openai_server import Fault
from tests.rows import completed_video, spoken_video
from videos.durable.paid import rate_limits
from videos.exceptions import CircuitOpen, ServiceUnavailable
from videos.models import (
    Breaker,
    Call,
    Embedding,
    Lexeme,
    LexemeChange,
    Passage,
    Revision,
    Segment,
    Video,
)
from videos.pipeline import lexemes, passages
from videos.search import search, words
from videos.search.query_terms import Term, query_terms
from videos.search.scope import Scope, scope
from videos.text import ranking

pytestmark = pytest.mark.django_db

TALK = [
    "Welcome to the lecture.",
    "Plants absorb sunlight and make sugar.",
    "Romans carried water over stone arches.",
    "Interest on savings grows every year.",
]


@pytest.mark.parametrize("mode", ["hybrid", "vector", "text"])
def test_a_hit_names_the_segment_in_which_it_was_said(creator, mode):
    spoken_video(creator, TALK)

    hit = search("how do Romans carry water", Video.objects.all(), mode=mode)[0]

    assert (hit.start, hit.end) == (10.0, 15.0)
    assert hit.snippet.startswith("Romans carried water")


def test_only_what_a_speaker_says_is_found(creator):
    video = spoken_video(creator, ["Interest grows slowly.", *TALK, "Interest grows at last."])
    spoken_video(creator, ["Interest grows elsewhere."])
    Segment.objects.filter(transcript__video=video, index=5).update(speaker="Ada")

    for mode in ("text", "hybrid", "vector"):
        hits = search("interest grows", Video.objects.all(), mode=mode, speaker="ADA")
        assert [hit.start for hit in hits] == [25.0]
    assert search("interest grows", Video.objects.all(), speaker="Ben") == []


def test_what_others_say_beside_a_speaker_is_not_theirs(creator):
    """A passage has lines of several speakers."""
    lines = ["Welcome, all of you.", "Do you weigh it?", "Always.", *["And so on it goes."] * 9]
    video = spoken_video(creator, [*lines, "I weigh it on a scale."])
    theirs = Segment.objects.filter(transcript__video=video, index__in=[0, 2, 12])
    theirs.update(speaker="Ada")

    hits = search("weigh", Video.objects.all(), mode="text", speaker="Ada")

    assert [hit.segment.index for hit in hits] == [12]


def test_a_hit_names_the_second_of_a_word_that_was_misspelled(creator):
    spoken_video(creator, TALK)
    Segment.objects.filter(index=2).update(
        words=[[10.0, 10.5, "Romans"], [10.5, 11, "carried"], [11, 12, "water"]]
    )

    lexemes.add_up()

    hit = search("caried", Video.objects.all(), mode="text")[0]

    assert (hit.start, hit.second, hit.jump) == (10.0, 10.5, 10.0)
    assert ("carried", True) in list(hit.looked_for.marked(hit.segment.text))


def test_endings_do_not_matter_where_the_language_is_known(creator):
    spoken_video(creator, TALK)

    assert search("saving", Video.objects.all(), mode="text")[0].start == 15.0


def test_unknown_languages_are_searched_by_whole_words(creator):
    spoken_video(creator, ["植物 光 糖", "水道 橋"], language="ja")

    assert search("水道", Video.objects.all(), mode="text")[0].start == 5.0


def test_only_the_given_videos_are_searched(creator, django_user_model):
    spoken_video(creator, TALK)
    other = django_user_model.objects.create_user("bob")

    for mode in ("hybrid", "vector", "text"):
        assert search("water", Video.objects.filter(creator=other), mode=mode) == []


def test_only_what_is_in_force_is_found(creator):
    video = spoken_video(creator, TALK)
    Video.objects.filter(pk=video.pk).update(revision=None)

    assert search("water", Video.objects.all()) == []


def test_better_hits_have_higher_scores(creator):
    for _ in range(3):
        spoken_video(creator, TALK[2:3])
        spoken_video(creator, TALK[:2])

    hits = search("Romans carried water", Video.objects.all(), limit=4)

    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert {hit.snippet for hit in hits[:3]} == {TALK[2]}


def test_without_the_embedding_service_words_still_find(creator, openai):
    spoken_video(creator, TALK)
    openai.faults.append(Fault(status=503, times=2))

    assert search("water", Video.objects.all())[0].start == 10.0
    with pytest.raises(ServiceUnavailable):
        search("water", Video.objects.all(), mode="vector")


def test_no_search_calls_a_service_that_is_down(creator, openai):
    spoken_video(creator, TALK)
    in_a_minute = timezone.now() + timedelta(minutes=1)
    Breaker.objects.create(service="embedding", failures=5, openings=1, open_until=in_a_minute)

    assert search("water", Video.objects.all())[0].start == 10.0
    with pytest.raises(CircuitOpen):
        search("water", Video.objects.all(), mode="vector")
    assert openai.embedded() == []


def test_searches_keep_to_the_budget(creator, openai, settings):
    spoken_video(creator, TALK)
    settings.CHRONOS_EMBEDDING_REQUESTS_PER_MINUTE = Call.objects.count() + 1

    assert [search("water", Video.objects.all())[0].start for _ in range(2)] == [10.0, 10.0]
    assert len(openai.embedded()) == 1


@pytest.mark.parametrize("query", ["", "   ", "\x00", "the", "'; DROP TABLE", "& | !", "🎬" * 50])
def test_any_query_is_answered(creator, query):
    spoken_video(creator, TALK)

    assert isinstance(search(query, Video.objects.all()), list)


def test_a_search_is_booked_as_a_call(creator):
    spoken_video(creator, TALK)
    before = Call.objects.count()

    search("water", Video.objects.all())

    assert Call.objects.count() == before + 1
    assert Call.objects.filter(video_id=None, state="answered").exists()


def test_the_number_of_queries_does_not_grow_with_the_hits(creator):
    completed_video(creator)
    with CaptureQueriesContext(connection) as one:
        search("sentence number", Video.objects.all())
    for _ in range(9):
        completed_video(creator)

    with CaptureQueriesContext(connection) as ten:
        assert len(search("sentence number", Video.objects.all())) == 10

    assert len(ten) == len(one)


@pytest.mark.parametrize("mode", ["hybrid", "vector", "text"])
def test_a_user_who_may_see_nothing_finds_nothing(creator, mode):
    spoken_video(creator, TALK)

    for nothing in (Video.objects.none(), Video.objects.filter(pk__in=[])):
        assert search("water", nothing, mode=mode) == []
    assert not Call.objects.filter(creator=None).exists()


@pytest.mark.parametrize("query", ["water \udcff", "water " + "stone " * 50_000, "\udcff" * 9])
def test_no_query_is_too_odd(creator, query):
    spoken_video(creator, TALK)

    search(query, Video.objects.all())


def test_a_vector_of_nothing_is_near_to_nothing(creator):
    video = spoken_video(creator, [f"{text} {'so ' * 25}" for text in TALK])
    first = Embedding.objects.filter(chunk__revision__video=video, segment_index=0)
    first.update(vector=HalfVector([0.0] * first.get().dimensions))

    hit = search("interest on savings", Video.objects.all(), mode="vector")[0]

    assert hit.start == 15.0


@pytest.mark.parametrize(
    ("said", "query"),
    [
        ("The cafe\u0301 is open.", "café"),
        ("The caf\u00e9 is open.", "cafe\u0301"),
        ("The e\ufb03cient o\ufb03ce.", "efficient office"),
        ("Photo\u00adsynthesis is slow.", "photosynthesis"),
        ("\u202bPhotosynthesis\u202c is slow.", "photosynthesis"),
        ("Photo\u200bsynthesis is slow.", "photosynthesis"),
        ("Photosynthesis is slow.", "photo\u00adsynthesis\u200f"),
        ("Ｐｈｏｔｏｓｙｎｔｈｅｓｉｓ is slow.", "photosynthesis"),
        ("Send your r\u00e9sum\u00e9 today.", "resume"),
        ("Das Mädchen ist schön.", "schon"),
        ("To be or not to be.", "to be or not to be"),
        ("It is what it is.", "what it is"),
    ],
)
def test_words_are_found_however_they_are_typed(creator, said, query):
    spoken_video(creator, ["Nothing here.", said, "Something else."])

    hit = search(query, Video.objects.all(), mode="text")[0]

    assert hit.start == 5.0
    assert hit.segment.text == said, "what was said is stored as it was said"


def test_accents_that_are_typed_tell_words_apart(creator):
    spoken_video(creator, ["Send your résumé today.", "Work will resume today."])

    assert search("résumé", Video.objects.all(), mode="text")[0].start == 0.0
    assert search("resume", Video.objects.all(), mode="text")[0].start == 5.0


@pytest.mark.django_db(transaction=True)
def test_a_request_that_is_one_transaction_holds_no_budget(creator, openai, settings, monkeypatch):
    """With ATOMIC_REQUESTS, others go on while the service takes its time."""
    spoken_video(creator, TALK)
    settings.CHRONOS_EMBEDDING_REQUESTS_PER_MINUTE = 100
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
    openai.gate.clear()
    booked = []

    def book_meanwhile():
        eventually(lambda: Call.objects.filter(state="sent").exists())
        with transaction.atomic():
            booked.append(rate_limits.affordable("embedding", [1]))
        openai.gate.set()
        connection.close()

    meanwhile = threading.Thread(target=book_meanwhile)
    with transaction.atomic():
        meanwhile.start()
        assert search("water", Video.objects.all(), mode="vector")
        transaction.set_rollback(True)
    meanwhile.join()

    assert booked == [1]
    assert Call.objects.get(run_id=None).state == "answered", "what was paid stays booked"


def test_a_word_that_nobody_says_is_taken_for_the_nearest_that_is_said(creator):
    spoken_video(creator, TALK)
    lexemes.add_up()

    (hit,) = search("sunlihgt", Video.objects.all(), mode="text")

    assert hit.start == 5.0


def test_words_that_are_said_are_never_taken_for_others(creator):
    spoken_video(creator, ["The form is filled in.", *TALK, "A swarm of bees, and a farm."])
    lexemes.add_up()

    assert search("form", Video.objects.all(), mode="text")[0].start == 0.0


def test_a_phrase_comes_before_the_same_words_elsewhere(creator):
    filler = [f"Filler {'so ' * 24}{number}." for number in range(8)]
    said = ["To the arches, stone by stone, the water was brought.", *filler, "Of stone arches."]
    spoken_video(creator, said)

    assert search("stone arches", Video.objects.all(), mode="text")[0].start == 45.0


def test_a_rare_word_leads_to_its_moment_past_frequent_ones(creator):
    filler = [f"The theory of rule {number} {'is so ' * 12}." for number in range(12)]
    spoken_video(creator, [*filler, "Hebbian it is called.", *filler])

    assert search("hebbian theory", Video.objects.all(), mode="text")[0].start == 60.0


@pytest.fixture(params=[True, False], ids=["all is read", "by the index"])
def reads_all(request, monkeypatch):
    """Search with words of which more is said than is looked at, among little and among much."""
    monkeypatch.setattr(Scope, "is_small", request.param)


@pytest.mark.usefixtures("reads_all")
def test_a_rare_word_is_found_past_more_frequent_ones_than_are_looked_at(creator):
    filler = ["The theory goes on, and " + "on and " * 11 + "on."] * 3_100
    spoken_video(creator, [*filler, "Hebbian it is called."])

    assert search("hebbian theory", Video.objects.all(), mode="text")[0].start == 15_500.0


def test_what_several_words_lead_to_is_looked_at_once(creator, monkeypatch):
    monkeypatch.setattr(words, "_MAX_LOOKED_AT", 2)
    together = [f"A rule of theory {number} {'goes on and ' * 8}." for number in range(3)]
    spoken_video(creator, ["Hebbian is the rule of this theory, which goes on and on.", *together])
    its = query_terms(["hebbian", "theory", "rule"])["english"]

    every = scope(Video.objects.all())

    ((leads, _), *_) = words._tries(*words._by_frequency(its), its, is_few=True)
    found = [place.id for place, _ in words._fitting(words._LED_TO, leads, "english", its, every)]

    assert len(leads) == 2
    assert len(found) == len(set(found)) > 1


@pytest.mark.parametrize(
    ("counts", "is_few", "expected"),
    [
        ([10, 20], False, [["a | b"]]),
        ([10, 5_000], False, [["a"], ["a", "b"]]),
        ([10, 5_000], True, [["a"], ["a", "b"]]),
        ([5_000, 5_000], False, [["a & b"], ["a & b", "a | b"]]),
        (
            [400_000, 400_000, 400_000],
            False,
            [["a & b & c"], ["a & b & c", "a & b"], ["a & b & c", "a & b", "a | b | c"]],
        ),
        ([400_000, 400_000, 400_000], True, [["a & b"], ["a & b", "a | b | c"]]),
        # The rare word tells more than both others, and here less.
        ([10, 400_000, 400_000], False, [["a"], ["a", "b & c"], ["a", "b & c", "b | c"]]),
        ([2_000, 4_000, 4_000], False, [["a", "b & c"], ["a", "b & c", "b | c"]]),
    ],
)
def test_rare_words_lead_alone_and_frequent_ones_together(counts, is_few, expected, monkeypatch):
    monkeypatch.setattr(Term, "either", property(lambda term: term.word))
    its = [
        Term(word, [word], count, 1_000_000, weight=ranking.idf(count, 1_000_000))
        for word, count in zip("abc", counts, strict=False)
    ]

    tries = words._tries(*words._by_frequency(its), its, is_few=is_few)
    assert [list(leads) for leads, _ in tries] == expected


@pytest.mark.usefixtures("reads_all")
def test_frequent_words_that_never_stand_together_are_found(creator, monkeypatch):
    monkeypatch.setattr(words, "_MAX_LOOKED_AT", 2)
    theories = [f"The theory {number} {'goes on and ' * 8}." for number in range(3)]
    rules = [f"A rule {number} {'goes on and ' * 8}." for number in range(3)]
    spoken_video(creator, [*theories, *["So it goes " * 8] * 3, *rules])

    found = search("theory rule", Video.objects.all(), mode="text")

    assert {hit.segment.text.split()[1] for hit in found} == {"theory", "rule"}


@pytest.mark.parametrize("mode", ["hybrid", "text"])
def test_a_query_of_which_nothing_is_said_finds_nothing(creator, settings, mode):
    settings.CHRONOS_SIMILARITY_FLOORS = {settings.CHRONOS_EMBEDDING_MODEL: 0.99}
    spoken_video(creator, TALK)

    assert search("zebra quantum submarine", Video.objects.all(), mode=mode) == []
    assert search("quantum water", Video.objects.all(), mode=mode) != []


def test_a_hit_says_why_it_was_found(creator):
    spoken_video(creator, TALK)

    why = search("Romans carried water", Video.objects.all())[0].why

    assert why.words > 1, "all of it, and as a phrase"
    assert why.vector_rank == 1


@pytest.mark.parametrize(
    ("said", "query"),
    [("水道橋を作った。", "水道"), ("水道橋を作った。", "橋"), ("我们喝水", "水")],
)
def test_languages_without_spaces_are_searched_by_pairs_of_letters(creator, said, query):
    spoken_video(creator, ["何もない。", said], language="ja")

    assert search(query, Video.objects.all(), mode="text")[0].start == 5.0


def test_how_much_a_lexeme_tells_follows_passages_that_come_and_go(creator):
    # A sweep that another test started may have added up what that test's end took back, or not.
    Lexeme.objects.all().delete()
    LexemeChange.objects.all().delete()

    def known():
        lexemes.add_up()
        rows = Lexeme.objects.filter(lexeme__in=["", "=water", "water"])
        return dict(rows.values_list("lexeme", "passages"))

    video = spoken_video(creator, TALK)
    assert known() == {"": 1, "=water": 1, "water": 1}
    spoken_video(creator, TALK[:2])
    assert known() == {"": 2, "=water": 1, "water": 1}
    video.delete()
    assert known() == {"": 1}
    assert not LexemeChange.objects.exists()


def test_videos_of_before_passages_are_found_once_the_sweep_was_there(creator):
    video = spoken_video(creator, TALK)
    Passage.objects.all().delete()
    Revision.objects.update(has_passages=False)
    assert search("water", Video.objects.all(), mode="text") == []

    passages.store_lacking()

    assert search("water", Video.objects.all(), mode="text")[0].video == video
