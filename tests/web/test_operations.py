"""The parts of the OpenAPI document that are always there."""

from proxy.web.operations import COMPONENTS, FIXED, PROBLEMS, result_of
from tests.web.test_openapi import assert_valid


def test_the_fixed_operations_are_a_valid_document_by_themselves() -> None:
    info = {"title": "fixed", "version": "1"}
    assert_valid({"openapi": "3.1.0", "info": info, "paths": FIXED, "components": COMPONENTS})


def test_each_operation_has_a_name_of_its_own_and_tells_of_all_problems() -> None:
    operations = [operation for path in FIXED.values() for operation in path.values()]
    assert len({operation["operationId"] for operation in operations}) == len(operations) == 9
    for operation in operations:
        assert operation["responses"].keys() == {"200", *PROBLEMS}


def test_a_result_may_have_members_that_nobody_knows() -> None:
    assert "additionalProperties" not in str(result_of(True))
