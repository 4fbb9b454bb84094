"""Corpora of speech as they are downloaded, or one's own in folders and tables; label maps, of images too."""
