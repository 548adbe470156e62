"""Topics into tables: a thread that consumes, and the batches that it hands to the engine."""

from regatta.kafka.consumer import Consumer

__all__ = ["Consumer"]
