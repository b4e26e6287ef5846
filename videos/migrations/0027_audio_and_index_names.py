from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models
from django.db.backends.utils import names_digest


def name_index_by_dimensions(apps, schema_editor):
    """Rename the index of the model that serves: of two lengths, two indexes can be."""
    for serving in apps.get_model("videos", "ServingModel").objects.all():
        compared = serving.dimensions
        if serving.model.startswith("text-embedding-3-"):
            compared = min(compared, 512)
        kind = "bits" if compared >= 512 else "hnsw"
        old, new = (
            f"embedding_{kind}_{compared}_{names_digest(*names, length=12)}"
            for names in ([serving.model], [serving.model, str(serving.dimensions)])
        )
        schema_editor.execute(f'ALTER INDEX IF EXISTS "{old}" RENAME TO "{new}"')


class Migration(migrations.Migration):

    atomic = False

    dependencies = [("videos", "0026_former_model")]

    operations = [
        migrations.AddField(
            model_name="transcript",
            name="is_audio_kept",
            field=models.BooleanField(db_default=False, default=False),
        ),
        AddIndexConcurrently(
            model_name="transcript",
            index=models.Index(
                condition=models.Q(
                    models.Q(("audio", ""), _negated=True), ("is_audio_kept", False)
                ),
                fields=["completed_at"],
                name="transcript_audio_age",
            ),
        ),
        migrations.RunPython(name_index_by_dimensions, migrations.RunPython.noop),
    ]
