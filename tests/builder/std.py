"""The standard image of the examples: 64 MiB, 64 KiB clusters, three guest clusters of 0x11."""

from dataclasses import replace

from tests.builder.build import build
from tests.builder.built import BuiltImage
from tests.builder.spec import Data, ImageSpec

STD_SPEC = ImageSpec(
    virtual_size=64 << 20,
    content={0: Data(17), 1: Data(17), 2: Data(17)},
    feature_table=True,
)


def std_image(**changes: object) -> BuiltImage:
    """Build the standard image, with fields of its spec changed if asked.

    Unchanged it is, byte for byte, what ``qemu-img create -f qcow2 t.qcow2 64M`` and then
    ``qemu-io -c 'write -P 17 0 192k'`` leave: file length 0x80000, every refcount 1, header in
    cluster 0, refcount table 1, refcount block 2, L1 3, L2 4, guest clusters 0..2 in 5..7.
    """
    return build(replace(STD_SPEC, **changes))  # type: ignore[arg-type]
