"""Places that a mirror is published to: folders and buckets."""
