"""Files that hold other files: zip, tar and compressed streams, opened within limits, their tables not trusted."""
