"""Maps of an image: what each part of the file, and of the disk, belongs to."""
