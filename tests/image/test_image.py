"""What opening an image reads, and what it does not need."""

from qcow2_dump.image.image import Image
from qcow2_dump.storage.memory import MemorySource
from qcow2_dump.storage.wrappers import FailingSource
from tests.builder.std import std_image


def test_an_image_opens_with_no_more_than_its_first_cluster() -> None:
    source = MemorySource(std_image().data.to_bytes())
    image = Image(FailingSource(source, (0x10000, source.size)))
    assert image.header.l1_size == 1
    assert len(image.header_cluster) == 0x10000
