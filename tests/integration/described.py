"""The API's own description, held against what it answers."""

from __future__ import annotations

import re
from typing import Any

from jsonschema import Draft202012Validator


class Described:
    """An OpenAPI description; an answer that is not in it fails the test."""

    def __init__(self, openapi: dict[str, Any]) -> None:
        self.openapi = openapi
        self.paths = {re.compile(re.sub(r"\{[^}]*\}", "[^/]+", path)): of for path, of in openapi["paths"].items()}

    def check(self, answer: Any) -> None:
        """Status, media type and body are as the description says."""
        asked = f"{answer.request.method} {answer.request.url.path}"
        operation = self.operation(answer.request.method.lower(), answer.request.url.path)
        assert str(answer.status_code) in operation["responses"], f"{asked}: {answer.status_code} is not described"
        content = operation["responses"][str(answer.status_code)].get("content", {})
        media_type = answer.headers.get("content-type", "").partition(";")[0]
        assert media_type in content or not answer.content, f"{asked}: {media_type}, described {list(content)}"
        if answer.content and media_type.endswith("json"):
            schema = content[media_type]["schema"] | {"components": self.openapi["components"]}
            Draft202012Validator(schema).validate(answer.json())

    def operation(self, method: str, path: str) -> dict[str, Any]:
        # The plainest path wins: /reviews/claim is no review called claim.
        found = [(pattern.pattern.count("[^/]+"), of) for pattern, of in self.paths.items() if pattern.fullmatch(path)]
        assert found, f"{path} is not described"
        operation: dict[str, Any] = min(found, key=lambda one: one[0])[1][method]
        return operation
