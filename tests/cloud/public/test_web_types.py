"""The pages' types are made of what the service says of itself, and of nothing older."""

import json
import re

from tests.cloud.public.web_types import PLACE, READ, document, written

GENERATED = PLACE.parent / "src" / "generated.ts"


def test_the_document_that_types_are_made_of_is_the_services_own() -> None:
    assert PLACE.read_text(encoding="utf-8") == written(document()), (
        "run `python -m tests.cloud.public.web_types`, then `npm run generate:api` in web/"
    )


def test_every_schema_and_each_of_its_fields_is_in_the_types() -> None:
    made = GENERATED.read_text(encoding="utf-8")
    schemas = json.loads(PLACE.read_text(encoding="utf-8"))["components"]["schemas"]
    assert set(READ) <= schemas.keys()
    for name, schema in schemas.items():
        found = re.search(rf"^        {name}: (\{{.*?^        \}}|[^\n]*);$", made, re.MULTILINE | re.DOTALL)
        assert found is not None, f"{name}: run `npm run generate:api` in web/"
        fields = set(re.findall(r"^            (\w+)\??: ", found[1], re.MULTILINE))
        assert fields == schema.get("properties", {}).keys(), f"{name}: run `npm run generate:api` in web/"
