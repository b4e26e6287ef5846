"""The forms of the pages; a host project may use them in views of its own."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.core.files import File
from django.utils.translation import gettext_lazy as _

from videos.models import Video
from videos.models.video import check_captions
from videos.pipeline import quota

_ACCEPTED = "video/*,audio/*,.mkv,.avi,.flv,.ts,.wmv"


class _Described(forms.Form):
    """What a creator may say of a video beside its file."""

    title = forms.CharField(
        label=_("Title"),
        max_length=255,
        required=False,
        help_text=_("Without one it is named after its file."),
    )
    language = forms.CharField(
        label=_("Language"),
        max_length=2,
        required=False,
        validators=Video._meta.get_field("language").validators,
        help_text=_("Two letters, such as en. Without it, it is recognized."),
    )
    captions = forms.FileField(
        label=_("Captions"),
        required=False,
        validators=[check_captions],
        widget=forms.FileInput(attrs={"accept": ".srt,.vtt"}),
        help_text=_(
            "SubRip (.srt) or WebVTT (.vtt), if there are some: they are taken as they are."
        ),
    )


class _Files(forms.ClearableFileInput):
    allow_multiple_selected = True


class _FilesField(forms.FileField):
    """One file or several."""

    widget = _Files

    def clean(self, data: Any, initial: Any = None) -> list[File[bytes]]:
        """Return all files that were chosen."""
        chosen = data if isinstance(data, (list, tuple)) else [data]
        return [super(_FilesField, self).clean(each, initial) for each in chosen or [None]]


class UploadForm(_Described):
    """Files of a creator, checked by name and size before anything of them is stored."""

    recordings = _FilesField(
        label=_("Videos or recordings"),
        widget=_Files(attrs={"accept": _ACCEPTED}),
    )
    field_order = ("recordings", "title", "language", "captions")

    def __init__(self, *args: Any, creator: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._creator = creator

    def clean_recordings(self) -> list[File[bytes]]:
        """Refuse files of other kinds, too large ones, and more than the creator has room for."""
        files: list[File[bytes]] = self.cleaned_data["recordings"]
        for file in files:
            quota.check(self._creator, file.name or "", file.size)
        left = quota.room(self._creator).left
        if left is not None and sum(file.size for file in files) > left:
            raise ValidationError(_("There is no room for all of these files together."))
        return files

    def clean(self) -> dict[str, Any]:
        """Refuse captions, or a title, for several files at once."""
        cleaned: dict[str, Any] = super().clean() or {}
        if len(cleaned.get("recordings", ())) > 1:
            for name in ("title", "captions"):
                if cleaned.get(name):
                    self.add_error(name, ValidationError(_("Only for one file at a time.")))
        return cleaned

    def save(self) -> list[Video]:
        """Store the files; each becomes a video, and its processing begins."""
        said = self.cleaned_data
        return [
            Video.objects.create(
                creator=self._creator,
                file=file,
                title=said["title"],
                language=said["language"],
                captions=said["captions"],
            )
            for file in said["recordings"]
        ]


class BeginForm(_Described):
    """The beginning of an upload whose bytes follow in pieces."""

    filename = forms.CharField(max_length=1_000)
    size = forms.IntegerField()


class ReplaceForm(forms.Form):
    """Another file for a video that is there."""

    file = forms.FileField(label=_("File"), widget=forms.FileInput(attrs={"accept": _ACCEPTED}))

    def __init__(self, *args: Any, creator: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._creator = creator

    def clean_file(self) -> File[bytes]:
        """Refuse what an upload would be refused for."""
        file: File[bytes] = self.cleaned_data["file"]
        quota.check(self._creator, file.name or "", file.size)
        return file


class CaptionsForm(forms.Form):
    """Captions for a video that is there: they take the place of recognition."""

    captions = forms.FileField(
        label=_("Captions"),
        validators=[check_captions],
        widget=forms.FileInput(attrs={"accept": ".srt,.vtt"}),
    )


class DetailsForm(forms.Form):
    """What a creator may change of a video at any time."""

    title = forms.CharField(label=_("Title"), max_length=255)
