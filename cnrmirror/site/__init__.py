"""Views: pure renderers from package documents to resources."""
