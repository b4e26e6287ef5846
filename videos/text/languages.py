"""Languages: their codes, as services name them, and what Postgres knows of them."""

from __future__ import annotations

from django.conf.locale import LANG_INFO

_MAX_CODE = 16

#: What Whisper can recognize (openai/whisper, tokenizer.py, LANGUAGES), and Django has no
#: translation for. The codes are those of ISO 639-1, or 639-3 for the two that it lacks.
_UNTRANSLATED = {
    "amharic": "am",
    "assamese": "as",
    "bashkir": "ba",
    "cantonese": "yue",
    "chinese": "zh",
    "faroese": "fo",
    "gujarati": "gu",
    "haitian creole": "ht",
    "hausa": "ha",
    "hawaiian": "haw",
    "javanese": "jv",
    "lao": "lo",
    "latin": "la",
    "lingala": "ln",
    "malagasy": "mg",
    "maltese": "mt",
    "maori": "mi",
    "myanmar": "my",
    "nynorsk": "nn",
    "occitan": "oc",
    "pashto": "ps",
    "sanskrit": "sa",
    "shona": "sn",
    "sindhi": "sd",
    "sinhala": "si",
    "somali": "so",
    "sundanese": "su",
    "tagalog": "tl",
    "tibetan": "bo",
    "yiddish": "yi",
    "yoruba": "yo",
}
_CODES = {
    info["name"].lower(): code for code, info in LANG_INFO.items() if "name" in info
} | _UNTRANSLATED

#: The text search configurations that PostgreSQL 15 comes with.
_TEXT_CONFIGS = {
    "ar": "arabic",
    "ca": "catalan",
    "da": "danish",
    "de": "german",
    "el": "greek",
    "en": "english",
    "es": "spanish",
    "eu": "basque",
    "fi": "finnish",
    "fr": "french",
    "ga": "irish",
    "hi": "hindi",
    "hu": "hungarian",
    "hy": "armenian",
    "id": "indonesian",
    "it": "italian",
    "lt": "lithuanian",
    "nb": "norwegian",
    "ne": "nepali",
    "nl": "dutch",
    "nn": "norwegian",
    "no": "norwegian",
    "pt": "portuguese",
    "ro": "romanian",
    "ru": "russian",
    "sr": "serbian",
    "sv": "swedish",
    "ta": "tamil",
    "tr": "turkish",
    "yi": "yiddish",
}

#: The configurations that know stop words, which tell a language: of Norwegian's two, the older.
CODES_BY_TEXT_CONFIG = {
    _TEXT_CONFIGS[code]: code
    for code in (
        *("da", "de", "en", "es", "fi", "fr", "hu", "it", "ne", "nl", "no", "pt", "ru", "sv", "tr"),
    )
}


def code_of(language: object) -> str:
    """Return the code of a language that a service named by code or in English; "" for none."""
    if not isinstance(language, str):
        return ""
    code = _CODES.get(language.lower(), language.lower()).replace("_", "-")[:_MAX_CODE]
    return code if code.replace("-", "").isalnum() else ""


def name_of(code: str) -> str:
    """Return the English name of a language in lower case, or the code itself."""
    return next((name for name, known in _CODES.items() if known == code), code)


def text_config(code: str) -> str:
    """Return the text search configuration of Postgres for a language's code."""
    return _TEXT_CONFIGS.get(code.split("-")[0].lower(), "simple")
