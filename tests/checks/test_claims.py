"""The owners of a cluster: told apart so far, and honest about the rest."""

from qcow2_dump import Claimant
from qcow2_dump.checks.owners.claims import Claims


def data(guest: int, *trees: str, offset: int = 0) -> Claimant:
    return Claimant("data", offset, guest, 0, 0, trees, len(trees))


def test_equal_claims_of_several_trees_are_one_owner() -> None:
    claims = Claims()
    claims.add(data(0x10000, "active"))
    claims.add(data(0x10000, "1", offset=0x999))
    claims.add(data(0x10000, "1", "2"))
    (owner,) = claims.owners.values()
    assert (owner.trees, owner.trees_total) == (("active", "1", "2"), 4)
    assert (claims.total, claims.number, claims.more) == (1, "1", False)


def test_what_tells_owners_apart() -> None:
    claims = Claims()
    claims.add(data(0x10000))
    claims.add(data(0x20000))
    claims.add(Claimant("compressed", 0, 0x10000))
    claims.add(Claimant("l1", 0x40))
    claims.add(Claimant("l1", 0x48))
    assert claims.total == 5


def test_more_than_are_told_apart() -> None:
    claims = Claims(most=3)
    for guest in range(3):
        claims.add(data(guest))
    assert (claims.number, claims.takes("data")) == ("3", False)
    claims.add(data(1))
    assert claims.number == "3"
    for guest in range(3, 10):
        claims.add(data(guest))
    assert (claims.number, claims.total, len(claims.owners)) == ("at least 4", 4, 3)


def test_one_of_each_kind_is_told_apart_in_any_case() -> None:
    claims = Claims(most=2)
    for guest in range(5):
        claims.add(Claimant("compressed", 0, guest))
    claims.add(data(7))
    claims.add(data(8))
    assert claims.kinds == {"compressed", "data"}
    assert len(claims.owners) == 3
