"""Runs sources: `async def run(service, input_values)` that tells events over time."""

import asyncio
import uuid

import pelton_shim as shim


class EventRefusedError(Exception):
    """The platform could not start a run for the event: its message says why."""


class Service:
    """What a source gets as its first parameter."""

    def __init__(self, channel, execution, outputs, cursor):
        self._channel = channel
        self._execution = execution
        self._outputs = outputs
        self._seq = 0
        self._waiting = {}
        self._stream = uuid.uuid4().hex
        self.cursor = cursor  # the last durable one, None at first

    async def create_run(self, data=None, running_time=0.0, status=None, key=None, cursor=None):
        """Starts a run with these values; returns its id once the run is durable.

        With a key, a second event of the same key finds the first one's run. The cursor comes
        back as `service.cursor` after a restart.
        """
        if "error" in str(getattr(status, "value", status) or "").lower():
            return await self.create_run_error()
        self._seq += 1
        seq = self._seq
        # Without a key of the author's, one of this stream: a message that is told again after a
        # broken connection is the same event.
        extra = {"seq": seq, "key": str(key) if key is not None else "%s#%d" % (self._stream, seq)}
        if cursor is not None:
            extra["cursor"] = shim.plain(cursor, "cursor")
        text = shim.encode_outputs("event", self._execution, [data or {}], False, extra)
        done = asyncio.get_running_loop().create_future()
        self._waiting[seq] = done
        self._channel.send(text)
        return await done

    async def create_run_error(self, message="the source reported an error"):
        self._channel.send_obj({"t": "log", "id": self._execution, "s": "logger", "l": "error", "m": str(message)})

    def get_output_definitions(self):
        return [dict(o) for o in self._outputs]

    def _message(self, message):
        if message["t"] != "ack":
            return
        done = self._waiting.pop(message.get("seq"), None)
        if done is None or done.done():
            return
        if message.get("run_id"):
            done.set_result(message["run_id"])
        else:
            done.set_exception(EventRefusedError("the event was refused: the platform's log says why"))


def run(loaded, channel, start, inputs, ctx):
    service = Service(channel, start["id"], loaded.outputs + start.get("outputs", []), ctx.cursor)

    async def main():
        loop = asyncio.get_running_loop()

        def readable():
            while True:
                message = channel.poll()
                if message is None:
                    return
                service._message(message)

        loop.add_reader(channel.sock.fileno(), readable)
        try:
            await loaded.function(service, inputs)
        finally:
            loop.remove_reader(channel.sock.fileno())

    asyncio.run(main())
