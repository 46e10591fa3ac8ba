"""The exception tree: each exception knows its errno, from which the exit status follows."""

import errno

import pytest

from qcow2_dump import errors


@pytest.mark.parametrize(
    ("error", "number"),
    [
        (errors.Qcow2Error("what"), errno.EIO),
        (errors.RequestError("what"), errno.EINVAL),
        (errors.SourceError(errno.ENOENT, "No such file", "disk.qcow2"), errno.ENOENT),
        (errors.TruncatedError(errno.EIO, "cut off", "disk.qcow2"), errno.EIO),
        (errors.PlanError("what"), errno.EINVAL),
        (errors.StalePlanError("what"), errno.EBUSY),
        (errors.UnsafePlanError("what"), errno.EINVAL),
        (errors.JournalError("what"), errno.EIO),
        (errors.LockedError("what"), errno.EBUSY),
        (errors.NotQcow2Error("what"), errno.EINVAL),
        (errors.UnsupportedError("what"), errno.ENOTSUP),
    ],
)
def test_errno(error: errors.Qcow2Error, number: int) -> None:
    assert error.errno == number


def test_a_source_error_is_told_without_its_number() -> None:
    assert str(errors.SourceError(errno.ENOENT, "No such file", "disk.qcow2")) == "No such file"
