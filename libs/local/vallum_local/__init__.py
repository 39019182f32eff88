"""Kafka, PostgreSQL and the five services as child processes."""
