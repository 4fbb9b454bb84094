"""Where events go: lines of JSON, tables, recordings, a message broker, a web server."""
