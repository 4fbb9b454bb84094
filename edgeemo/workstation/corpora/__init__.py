"""Corpora as they are downloaded: speech, known by file names or annotation tables; images; and label maps."""
