"""Sends CloudEvents over HTTP in binary mode (CloudEvents HTTP protocol binding 1.0, section 3.1)."""

import http.client
import json
import re
import urllib.parse
from datetime import datetime, timezone

# What stays as it is in the value of a header (section 3.1.3.2); everything else is percent-encoded.
PLAIN = "".join(chr(c) for c in range(0x21, 0x7F) if chr(c) not in '"%')
SECONDS = 30  # for the receiver to answer


class PeltonError(Exception):
    """An error with a kind that workflows can tell apart; recognised by its name."""

    def __init__(self, kind, message):
        super().__init__(message)
        self.kind = kind


def attributes_of(inputs, ctx):
    """The attributes of the event, all texts."""
    out = {}
    further = inputs.get("attributes") or {}
    if not isinstance(further, dict):
        raise PeltonError("invalid_input", "attributes is no object of texts by name")
    for name, value in further.items():
        if not re.fullmatch("[a-z0-9]+", name) or name == "data":
            raise PeltonError("invalid_input", f"attributes.{name} is no name of an attribute (use a-z and 0-9)")
        if not isinstance(value, str):
            raise PeltonError("invalid_input", f"attributes.{name} is no text")
        out[name] = value
    if not inputs["type"]:
        raise PeltonError("invalid_input", "type is empty (give one such as com.example.order.created)")
    out.update(
        specversion="1.0",
        id=inputs["id"] or ctx.idempotency_key,
        type=inputs["type"],
        source=inputs["source"] or f"/runs/{ctx.run_id}",
        time=datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    )
    if inputs["subject"]:
        out["subject"] = inputs["subject"]
    out.pop("datacontenttype", None)  # it is the content type
    return out


def handle(inputs, ctx):
    """Errors are of the kinds invalid_input; refused: the receiver does not want this event; unreachable: it cannot be
    reached, or says that it has trouble. After unreachable the event may come twice, under one id."""
    url = urllib.parse.urlsplit(inputs["url"])
    if url.scheme not in ("http", "https") or not url.hostname:
        raise PeltonError("invalid_input", "url is no HTTP address (give one such as http://HOST/PATH)")
    attributes = attributes_of(inputs, ctx)
    headers = {"ce-" + name: urllib.parse.quote(value, safe=PLAIN) for name, value in attributes.items()}
    body = b""
    if inputs.get("data") is not None:
        body = json.dumps(inputs["data"], ensure_ascii=False).encode()
        headers["Content-Type"] = "application/json"
    if inputs.get("key"):
        headers["Authorization"] = "Bearer " + inputs["key"]
    connect = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    path = urllib.parse.urlunsplit(("", "", url.path or "/", url.query, ""))
    try:
        connection = connect(url.hostname, url.port, timeout=SECONDS)
        try:
            connection.request("POST", path, body, headers)
            answer = connection.getresponse()
            said = answer.read(200).decode(errors="replace").strip()
        finally:
            connection.close()
    except (OSError, http.client.HTTPException) as error:
        raise PeltonError("unreachable", f"{url.hostname}: {error or type(error).__name__}") from error
    if answer.status // 100 != 2:
        trouble = answer.status >= 500 or answer.status in (408, 425, 429)
        raise PeltonError("unreachable" if trouble else "refused", f"{url.hostname} answered {answer.status}: {said}")
    return {"id": attributes["id"], "status": answer.status}
