"""The judge: says what a contract finds wrong with a request or an answer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from openapi_core import Config, OpenAPI
from openapi_core.datatypes import RequestParameters
from werkzeug.datastructures import Headers, ImmutableMultiDict

from .openapi import Document
from .wire import Answer, Call, Wire


class _Request:
    """A call in the form that openapi-core asks for, addressed to the host that the contract names."""

    def __init__(self, call: Call, host_url: str) -> None:
        parts = urlsplit(call.path)
        self.host_url = host_url
        self.path = parts.path
        self.method = call.method.lower()
        self.body = call.raw
        self.content_type = call.sent_headers.get("Content-Type", "")
        self.parameters = RequestParameters(
            path={}, query=ImmutableMultiDict(parse_qsl(parts.query)), header=Headers(call.sent_headers)
        )


class _Response:
    """An answer in the form that openapi-core asks for."""

    def __init__(self, answer: Answer) -> None:
        self.data = answer.body
        self.status_code = answer.status
        self.content_type = answer.content_type
        self.headers = Headers(dict(answer.headers))


class Judge:
    """Holds calls and answers to one OpenAPI document."""

    def __init__(self, document: Document) -> None:
        # That the documents are valid has tests of its own, and takes seconds.
        self._api = OpenAPI.from_dict(document, Config(spec_validator_cls=None))
        self._host_url = document["servers"][0]["url"]

    def faults_of_request(self, call: Call) -> list[str]:
        """What is wrong with a request; nothing, if it keeps the contract."""
        return list(_messages(self._api.iter_request_errors(_Request(call, self._host_url))))

    def faults_of_answer(self, call: Call, answer: Answer) -> list[str]:
        """What is wrong with the answer to a call: its status, headers or body."""
        return list(_messages(self._api.iter_response_errors(_Request(call, self._host_url), _Response(answer))))


def _messages(errors: Iterable[BaseException]) -> Iterator[str]:
    for error in errors:
        causes: list[Any] = list(getattr(error.__cause__, "schema_errors", ()))
        details = "; ".join(f"{each.json_path}: {each.message}" for each in causes)
        yield f"{type(error).__name__}: {details or error}"


class Court:
    """Sends calls for real, and lets no answer pass that breaks the contract."""

    def __init__(self, wire: Wire, judge: Judge) -> None:
        self._wire = wire
        self.judge = judge

    def send(self, call: Call, status: int | None = None) -> Answer:
        """Send any call, a wrong one too; the answer must keep the contract and, if one is given, have this status."""
        answer = self._wire.send(call)
        faults = self.judge.faults_of_answer(call, answer)
        assert not faults, f"{call.method} {call.path} answered {answer.status} {answer.body[:500]!r}: {faults}"
        if status is not None:
            assert answer.status == status, f"{call.method} {call.path} answered {answer.status} {answer.body[:500]!r}"
        return answer

    def send_valid(self, call: Call, status: int = 200) -> Answer:
        """Send a call that must keep the contract itself."""
        faults = self.judge.faults_of_request(call)
        assert not faults, f"{call.method} {call.path} {call.body!r}: {faults}"
        return self.send(call, status)

    def send_invalid(self, call: Call, status: int = 400) -> Answer:
        """Send a call that the contract must refuse, and so must the server."""
        assert self.judge.faults_of_request(call), f"the contract allows {call.method} {call.path} {call.body!r}"
        return self.send(call, status)
