"""The wire contract as an AsyncAPI 3.0 document beside the JSON Schema files that it refers to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from schemas.base import SCHEMA_MAJOR
from schemas.dead_letter import PREFIX, DeadLetter

Json = dict[str, Any]
BINDING_VERSION = "0.5.0"


@dataclass(frozen=True, slots=True)
class Channel:
    """One topic, or a family of topics when its address holds `{parameters}`."""

    id: str
    address: str
    key: str
    partitions: int
    holds: str
    messages: tuple[str, ...]
    """Names of the messages that travel on it."""
    action: Literal["send", "receive"]
    """What Caseworks does with it, seen from a service beside it."""
    config: Mapping[str, str] = field(default_factory=dict)


PARAMETERS: Json = {
    "namespace": {"description": "Keeps several systems on one cluster apart.", "default": "cw"},
    "agent": {"description": "The name of an agent."},
    "workflow": {"description": "The name of a workflow."},
}


def document(channels: Sequence[Channel], schemas: Mapping[str, Json]) -> Json:
    """The document; `schemas` by message name, each in a file `<name>.json` beside it."""
    travelling = {name for channel in channels for name in channel.messages}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Caseworks",
            "version": f"{SCHEMA_MAJOR}.0.0",
            "description": (
                "Business events in, exactly one result each out. Every message is a CloudEvents"
                " 1.0 message in Kafka binary mode; readers use isolation.level=read_committed,"
                " ignore fields they do not know and may dedupe on ce_id. Keys choose partitions"
                " by murmur2."
            ),
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {channel.id: _channel(channel) for channel in channels},
        "operations": {
            f"{channel.action}_{channel.id}": _operation(channel) for channel in channels
        },
        "components": {
            "messages": {name: _message(name, schemas[name]) for name in sorted(travelling)},
            "messageTraits": {"cloudEvent": {"headers": _cloud_event_headers()}},
        },
    }


def _channel(channel: Channel) -> Json:
    named = {name: about for name, about in PARAMETERS.items() if f"{{{name}}}" in channel.address}
    return {
        "address": channel.address,
        "description": f"Holds {channel.holds}; keyed by {channel.key}.",
        "messages": {name: _to("components", "messages", name) for name in channel.messages},
        **({"parameters": named} if named else {}),
        "bindings": {
            "kafka": {
                "partitions": channel.partitions,
                "topicConfiguration": _topic_configuration(channel.config),
                "bindingVersion": BINDING_VERSION,
            }
        },
    }


def _topic_configuration(config: Mapping[str, str]) -> Json:
    """Kafka's settings with the types that the binding wants."""
    typed: Json = {}
    for name, value in sorted(config.items()):
        if name == "cleanup.policy":
            typed[name] = value.split(",")
        else:
            typed[name] = int(value) if value.isdigit() else value
    return typed


def _operation(channel: Channel) -> Json:
    return {
        "action": channel.action,
        "summary": f"{channel.action.capitalize()} {channel.holds}",
        "channel": _to("channels", channel.id),
        "messages": [_to("channels", channel.id, "messages", name) for name in channel.messages],
    }


def _message(name: str, schema: Json) -> Json:
    return {
        "name": name,
        "title": schema.get("title", name),
        "summary": schema.get("description", "").partition("\n")[0],
        "contentType": "application/json",
        "traits": [_to("components", "messageTraits", "cloudEvent")],
        **({"headers": _dead_letter_headers()} if name == "dead_letter" else {}),
        "payload": _payload(name),
        "bindings": {"kafka": {"key": {"type": "string"}, "bindingVersion": BINDING_VERSION}},
    }


def _payload(name: str) -> Json:
    """Its file; but a dead letter is in headers around its bytes, an event around its data."""
    if name == "dead_letter":
        return {"description": "The original value, byte for byte."}
    if name == "event":
        return {"description": "The event's data as its type wants it."}
    return {
        "schemaFormat": "application/schema+json;version=draft-2020-12",
        "schema": {"$ref": f"./{name}.json"},
    }


def _cloud_event_headers() -> Json:
    text = {"type": "string"}
    return {
        "type": "object",
        "required": ["ce_specversion", "ce_id", "ce_source", "ce_type"],
        "properties": {
            "ce_specversion": {"type": "string", "const": "1.0"},
            "ce_id": text,
            "ce_source": text,
            "ce_type": text,
            "ce_time": {"type": "string", "format": "date-time"},
            "ce_subject": text,
            "ce_tenant": text,
            "ce_priority": {"type": "string", "enum": ["urgent", "normal", "deferred"]},
            "ce_deadline": {"type": "string", "format": "date-time"},
            "ce_dataclass": text,
            "content-type": {"type": "string", "default": "application/json"},
            "traceparent": text,
        },
    }


def _dead_letter_headers() -> Json:
    fields = DeadLetter.model_fields
    return {
        "type": "object",
        "required": [PREFIX + name for name, each in fields.items() if each.is_required()],
        "properties": {PREFIX + name: {"type": "string"} for name in fields},
    }


def _to(*place: str) -> Json:
    """A reference within the document."""
    return {"$ref": "#/" + "/".join(place)}
