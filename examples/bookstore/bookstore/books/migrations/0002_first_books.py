from django.db import migrations

BOOKS = {
    "Emma": "Emma Woodhouse, handsome, clever, and rich …",
    "Moby-Dick": "Call me Ishmael.",
    "Middlemarch": "Miss Brooke had that kind of beauty …",
    "The Trial": "Someone must have been telling lies about Josef K. …",
    "Jane Eyre": "There was no possibility of taking a walk that day.",
    "Dracula": "Left Munich at 8:35 P.M., on 1st May …",
}


def fill_the_shelf(apps, schema_editor):
    Book = apps.get_model("books", "Book")
    Book.objects.bulk_create(Book(title=title, text=text) for title, text in BOOKS.items())


class Migration(migrations.Migration):
    dependencies = [("books", "0001_initial")]

    operations = [migrations.RunPython(fill_the_shelf, migrations.RunPython.noop)]
