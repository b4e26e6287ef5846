"""The pages in their second language: all of it, and what is compiled is what is written."""

import ast
import gettext
import re

import pytest
from django.urls import reverse
from django.utils.translation import override
from django.utils.translation.template import templatize

from tests.conftest import PROJECT
from tests.rows import spoken_video

VIDEOS = PROJECT / "videos"
MARKED = {"_", "gettext", "gettext_lazy", "ngettext"}


def in_templates():
    for path in sorted((VIDEOS / "templates" / "videos").rglob("*.html")):
        source = templatize(path.read_text(), origin=str(path))
        for call in re.finditer(r"\bn?gettext\(", source):
            # What follows up to its end is a call that Python can read.
            end = source.index(")", call.end())
            while True:
                try:
                    tree = ast.parse(source[call.start() : end + 1].strip())
                except SyntaxError:
                    end = source.index(")", end + 1)
                    continue
                break
            yield ast.literal_eval(tree.body[0].value.args[0])
        yield from re.findall(r"\b_\('((?:[^'\\]|\\.)*)'\)", source)


def in_code():
    for path in sorted(VIDEOS.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            is_marked = isinstance(node, ast.Call) and getattr(node.func, "id", "") in MARKED
            if is_marked and node.args and isinstance(node.args[0], ast.Constant):
                yield node.args[0].value


def catalog(language):
    folder = VIDEOS / "locale" / language / "LC_MESSAGES"
    with (folder / "django.mo").open("rb") as compiled:
        messages = gettext.GNUTranslations(compiled)._catalog
    return {key[0] if isinstance(key, tuple) else key: said for key, said in messages.items()}


def test_every_text_has_its_translation():
    known = catalog("de")

    texts = [*in_templates(), *in_code()]
    assert len(texts) > 150
    assert sorted({text for text in texts if not known.get(text)}) == []


def test_what_is_compiled_is_what_is_written():
    written = (VIDEOS / "locale" / "de" / "LC_MESSAGES" / "django.po").read_text()
    plain = re.sub(r'"\n"', "", written)

    for text, said in catalog("de").items():
        if text:
            assert f'msgid "{_escaped(text)}"' in plain
            assert f'"{_escaped(said)}"' in plain
    assert "fuzzy" not in written


def _escaped(text):
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


@pytest.mark.django_db
def test_whose_browser_asks_for_german_reads_german(client, creator):
    client.force_login(creator)
    video = spoken_video(creator, ["Eins.", "Zwei."])
    german = {"Accept-Language": "de-DE,de;q=0.9,en;q=0.5"}

    library = client.get(reverse("videos:library"), headers=german).content.decode()
    watch = client.get(reverse("videos:watch", args=[video.pk]), headers=german).content.decode()

    assert '<html lang="de">' in library
    assert "Hochladen" in library
    assert "Im Transkript suchen" in watch
    # Numbers in addresses and data are no language's.
    assert 'data-start="5.0"' in watch
    assert "?t=5.0" in watch
    english = client.get(reverse("videos:library"), headers={"Accept-Language": "fr"})
    assert '<html lang="en">' in english.content.decode()


@pytest.mark.django_db
def test_a_refusal_is_translated_as_well(client, creator):
    client.force_login(creator)

    answer = client.post(
        reverse("videos:begin"),
        {"filename": "a.exe", "size": 5},
        headers={"Accept-Language": "de"},
    )

    (error,) = answer.json()["errors"]["recordings"]
    assert error["message"].startswith("a.exe ist dem Namen nach weder")
    with override("de"):
        assert str(type(spoken_video(creator, ["x"])).Status.FAILED.label) == "Fehlgeschlagen"
