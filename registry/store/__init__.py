"""What a home keeps: blobs, the log, the catalog, the published view."""
