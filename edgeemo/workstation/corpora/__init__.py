"""Corpora as they are downloaded: of speech, by file names or annotation tables; of pictures; and label maps."""
