"""Which language texts are in: said by their stop words, or not said."""

import pytest

from videos.pipeline.transcribe.written_language import guess

pytestmark = pytest.mark.django_db

SAID = {
    "en": "The first thing that we have to do is to look at what was there before it was built.",
    "de": "Das ist nicht das, was wir in der letzten Woche über die Zellen gehört haben",
    "fr": "Ce que nous avons vu dans la première partie de ce cours est que les plantes ont une",
    "es": "Lo que hemos visto en la primera parte de este curso es que las plantas no son como",
    "it": "Quello che abbiamo visto nella prima parte di questo corso è che le piante non sono",
    "pt": "O que nós vimos na primeira parte deste curso é que as plantas não são como os animais",
    "nl": "Wat wij in het eerste deel van deze cursus hebben gezien is dat de planten niet zijn",
    "ru": "То что мы видели в первой части этого курса это то что они не были такими как все",
    "sv": "Det som vi har sett i den första delen av kursen är att växterna inte är som djuren",
    "tr": "Bu dersin ilk bölümünde gördüğümüz şey çok daha önce ve bu kadar için ama ne ise o da",
}


@pytest.mark.parametrize("code", SAID)
def test_running_text_tells_its_language(code):
    assert guess([SAID[code]]) == code


@pytest.mark.parametrize(
    "texts",
    [
        [],
        ["", "12:30 — 14"],
        ["这是一个关于光合作用的讲座"],
        ["Photosynthesis, chlorophyll, oxygen, glucose."],
        [SAID["fr"], SAID["de"]],
    ],
)
def test_what_is_not_sure_is_not_said(texts):
    assert guess(texts) == ""
