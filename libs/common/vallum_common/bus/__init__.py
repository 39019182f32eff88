"""Events on Kafka: CloudEvents, the outbox relay that publishes them and the inbox consumer that takes effect once."""
