"""Publishes messages to exchanges of a RabbitMQ."""

import json
import logging
import re
import time
from datetime import datetime, timezone

import pika
import pika.exceptions

logging.getLogger("pika").setLevel(logging.CRITICAL)  # it logs what it raises


class PeltonError(Exception):
    """An error with a kind that workflows can tell apart; recognised by its name."""

    def __init__(self, kind, message):
        super().__init__(message)
        self.kind = kind


def wrong(message):
    return PeltonError("invalid_input", message)


def parameters(url):
    if not url.startswith(("amqp://", "amqps://")):
        raise wrong("url is no address of a RabbitMQ (give amqp://USER:PASSWORD@HOST:PORT/VHOST)")
    try:
        p = pika.URLParameters(url)
    except ValueError:  # which would show it
        raise wrong("url cannot be read (give amqp://USER:PASSWORD@HOST:PORT/VHOST)") from None
    # A broker that is silent is told by the heartbeat, within 20 seconds.
    p.connection_attempts, p.socket_timeout, p.stack_timeout, p.heartbeat, p.blocked_connection_timeout = 1, 10, 15, 10, 20
    p.client_properties = {"connection_name": "pelton rabbitmq-publish"}
    return p


def body_of(inputs):
    """The bytes of the body: JSON, or a text as it is."""
    media = inputs["content_type"].split(";")[0].strip().lower()
    if not re.fullmatch(r"[a-z0-9.+-]+/[a-z0-9.+-]+", media):
        raise wrong(f"content_type is {inputs['content_type']!r} (give a media type such as application/json)")
    if media == "application/json" or media.endswith("+json"):
        return json.dumps(inputs["body"], ensure_ascii=False, separators=(",", ":")).encode()
    if not isinstance(inputs["body"], str):
        raise wrong(f"body is no text, and content_type is {media} (give a text, or application/json)")
    return inputs["body"].encode()


def values(field, given):
    """The entries of an optional object of texts, numbers and true or false."""
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise wrong(f"{field} is no object")
    for name, value in given.items():
        if not isinstance(value, (str, bool, int, float)):
            raise wrong(f"{field}.{name} is neither a text nor a number nor true or false")
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise wrong(f"{field}.{name} is out of range")
    return dict(given)


def attributes(inputs, ident, now):
    """The attributes of a CloudEvent as headers (AMQP protocol binding 1.0, section 3.1.3)."""
    event = values("event", inputs.get("event"))
    if inputs.get("event") is None:
        return {}
    for name in ("type", "source"):
        if not isinstance(event.get(name), str) or not event[name]:
            raise wrong(f"event.{name} is missing (give event: {{type: com.example.order.created, source: /shop}})")
    for name in event:
        if not re.fullmatch("[a-z0-9]+", name) or name == "data":
            raise wrong(f"event.{name} is no name of an attribute (use a-z and 0-9; the data are the body)")
        if name in ("specversion", "datacontenttype"):
            raise wrong(f"event.{name} cannot be chosen: leave it out (content_type is the type of the data)")
    out = {"specversion": "1.0", "id": ident, "time": datetime.fromtimestamp(now, timezone.utc).isoformat().replace("+00:00", "Z")}
    for name, value in event.items():
        out[name] = value if isinstance(value, str) else json.dumps(value)
    return {"cloudEvents:" + name: value for name, value in out.items()}


def handle(inputs, ctx):
    """Errors are of the kinds invalid_input; unreachable: the broker cannot be reached, or does not answer in time; refused: it
    does not allow this; unroutable: no queue takes the message. After unreachable nobody knows whether the message was taken: it
    may come twice, under one id."""
    ident, now = inputs["id"] or ctx.idempotency_key, int(time.time())
    for name, text in {"exchange": inputs["exchange"], "key": inputs["key"], "id": ident}.items():
        if len(text.encode()) > 255:
            raise wrong(f"{name} is longer than 255 bytes")
    where, body, headers = parameters(inputs["url"]), body_of(inputs), values("headers", inputs.get("headers"))
    headers.update(attributes(inputs, ident, now))
    properties = pika.BasicProperties(
        message_id=ident,
        content_type=inputs["content_type"],
        delivery_mode=pika.DeliveryMode.Persistent.value,
        app_id="pelton",
        timestamp=now,
        type=headers.get("cloudEvents:type"),
        headers=headers,
    )
    publish(where, inputs["exchange"], inputs["key"], body, properties)
    return {"id": ident}


def publish(parameters, exchange, key, body, properties):
    """Returns once the broker has confirmed that a queue holds the message."""
    where = f'the exchange "{exchange}" with the key "{key}"'
    connection = None
    try:
        connection = pika.BlockingConnection(parameters)
        channel = connection.channel()
        channel.confirm_delivery()
        channel.basic_publish(exchange, key, body, properties, mandatory=True)
    except pika.exceptions.UnroutableError:
        raise PeltonError("unroutable", f"no queue takes what comes to {where}: bind one to it, or correct the key") from None
    except pika.exceptions.NackError:
        raise PeltonError("refused", f"the broker refused the message to {where}: its queue is full, or could not keep it") from None
    except pika.exceptions.ChannelClosedByBroker as error:
        if error.reply_code == 404:
            raise PeltonError("refused", f"there is no such exchange: {where}: declare it first ({error.reply_text})") from None
        if error.reply_code == 403:
            raise PeltonError("refused", f"the user may not publish to {where}: give it the permission to write ({error.reply_text})") from None
        raise PeltonError("unreachable", f"publish to {where}: {error.reply_text}") from error
    except (pika.exceptions.ProbableAuthenticationError, pika.exceptions.ProbableAccessDeniedError):
        raise PeltonError("refused", "the broker refuses the user, the password or the virtual host of url") from None
    except (pika.exceptions.AMQPError, OSError) as error:
        raise PeltonError("unreachable", f"publish to {where}: {error!r}") from error
    finally:
        if connection is not None and connection.is_open:
            try:
                connection.close()
            except (pika.exceptions.AMQPError, OSError):
                pass  # the broker has confirmed, or said why not
