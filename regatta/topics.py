"""What a node does with the topics that it is told to consume, from its settings on."""

import asyncio
import logging
import sys

from regatta.admin import View
from regatta.config import KafkaSettings
from regatta.engine import Engine
from regatta.kafka import Consumer
from regatta.kafka.client import admin_client
from regatta.kafka.client import check_client
from regatta.kafka.client import client_properties
from regatta.kafka.client import topic_ids
from regatta.kafka.client import wait_for_topics

switch_interval_s = 0.0001  # Python's own is 5 ms, which reads would wait beside a busy thread


class Topics:
    """The topics of a node. Nothing is connected before it is asked for."""

    def __init__(self, kafka: KafkaSettings) -> None:
        """Raise StartError for properties and files that can't be used."""
        self._names = kafka.topics
        self._must_be_there = kafka.check_topics
        self._properties = client_properties(
            brokers=[str(address) for address in kafka.brokers],
            group_id=kafka.group_id,
            timeout_s=kafka.timeout_s,
            tls=kafka.tls,
            given=kafka.properties,
        )
        check_client(self._properties, kafka.properties)

    async def wait(self, log: logging.Logger, view: View) -> None:
        """Return once every topic has a partition, at once where that isn't asked for."""

        def show(text: str) -> None:
            if text != view.phase:
                log.info("%s", text)
            view.phase = text

        if self._must_be_there:
            await wait_for_topics(self._properties, self._names, show)

    def consume(self, engine: Engine) -> Consumer:
        """Begin to consume, in a thread beside the event loop."""
        admin = admin_client(self._properties)
        # The thread runs Python, and the event loop waits so long for its turn.
        sys.setswitchinterval(switch_interval_s)
        consumer = Consumer(
            self._properties,
            self._names,
            engine,
            asyncio.get_running_loop(),
            lambda timeout_s: topic_ids(admin, self._names, timeout_s),
        )
        consumer.start()
        return consumer
