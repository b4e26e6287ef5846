from django.db import migrations, models

import videos.durable.fields


class Migration(migrations.Migration):

    dependencies = [("videos", "0027_audio_and_index_names")]

    operations = [
        migrations.AddField(
            model_name="worker",
            name="clock_ahead_s",
            field=models.FloatField(db_default=0, default=0),
        ),
        migrations.AddField(
            model_name="worker",
            name="release",
            field=videos.durable.fields.StoredCharField(
                blank=True, db_default="", default="", max_length=100
            ),
        ),
    ]
