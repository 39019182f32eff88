"""Kafka, PostgreSQL and the five services as child processes of one `vallum up`, on one Linux machine.

Only `vallum up` and the tests import this package; no service does.
"""
