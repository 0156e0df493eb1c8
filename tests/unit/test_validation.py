"""How much does it take to refuse a request?"""

from __future__ import annotations

import pytest

from gatekeeper.rpc.statuses import InvalidRequest
from gatekeeper.rpc.validation import SMALL_BYTES_MAX, Validator
from gatekeeper_client.v1 import gatekeeper_service_pb2 as pb


@pytest.mark.parametrize(("count", "told"), [(3, 3), (SMALL_BYTES_MAX, 1)])
def test_of_a_list_that_is_too_long_nothing_else_is_told(count: int, told: int) -> None:
    """However many violations there are in it, so that nobody makes a server list them all."""
    check = Validator().checker(pb.SetCapRequest.DESCRIPTOR.full_name)
    with pytest.raises(InvalidRequest) as refused:
        check(pb.SetCapRequest(organization="o", thresholds=[0] * count))
    assert refused.value.metadata["count"] == str(told)
