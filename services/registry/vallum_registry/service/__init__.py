"""What can be done with the registry. Nothing here knows gRPC, Kafka, SQL or a file system."""
