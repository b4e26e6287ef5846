import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [("videos", "0025_refused_keys")]

    operations = [
        migrations.AddField(
            model_name="servingmodel",
            name="former_model",
            field=models.CharField(blank=True, db_default="", default="", max_length=100),
        ),
        migrations.AddField(
            model_name="servingmodel",
            name="former_dimensions",
            field=models.PositiveIntegerField(db_default=0, default=0),
        ),
        migrations.AddField(
            model_name="servingmodel",
            name="is_rolled_back",
            field=models.BooleanField(db_default=False, default=False),
        ),
        migrations.AlterField(
            model_name="servingmodel",
            name="since",
            field=models.DateTimeField(default=django.utils.timezone.now),
        ),
    ]
