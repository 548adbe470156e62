"""Kafka topics into tables: each record is a put or a delete in the table of its topic's name."""
