"""Corpora of speech as they are downloaded, known by file names or annotation tables; label maps, of images too."""
