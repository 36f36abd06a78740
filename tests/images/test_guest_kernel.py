"""Modules are loaded after what they need, and the initramfs is one that cpio understands."""

from __future__ import annotations

import lzma
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kontinuum.images import debian, initramfs, kernel

DEPENDENCIES = """\
kernel/drivers/virtio/virtio_ring.ko:
kernel/drivers/virtio/virtio.ko: kernel/drivers/virtio/virtio_ring.ko
kernel/net/core/failover.ko:
kernel/drivers/net/net_failover.ko: kernel/net/core/failover.ko
kernel/drivers/net/virtio_net.ko: kernel/drivers/net/net_failover.ko kernel/net/core/failover.ko \
kernel/drivers/virtio/virtio.ko kernel/drivers/virtio/virtio_ring.ko
"""


def test_modules_follow_what_they_need_and_built_in_ones_are_left_out() -> None:
    order = [Path(path).stem for path in kernel.load_order(DEPENDENCIES, ["virtio-net", "built_in", "virtio"])]
    assert sorted(order) == ["failover", "net_failover", "virtio", "virtio_net", "virtio_ring"]
    assert order.index("failover") < order.index("net_failover") < order.index("virtio_net")
    assert order.index("virtio_ring") < order.index("virtio") < order.index("virtio_net")


@given(st.lists(st.tuples(st.text("abc", min_size=1), st.binary(max_size=50)), unique_by=lambda pair: pair[0]))
def test_cpio_reads_back_every_file(contents: list[tuple[str, bytes]]) -> None:
    archive = initramfs.pack([initramfs.file(name, content) for name, content in contents])
    listed = subprocess.run(["cpio", "--list", "--quiet"], input=archive, capture_output=True, check=True).stdout
    assert listed.decode().split() == [name for name, _ in contents]


async def test_a_kernel_packed_in_an_unknown_way_is_refused() -> None:
    image = bytearray(2048)
    kernel.PAYLOAD.pack_into(image, kernel.PAYLOAD_AT, 0, 100)
    with pytest.raises(kernel.KernelUnusable, match="compressed in a way we do not know"):
        await kernel.unpack_elf(bytes(image))


async def test_a_module_is_unpacked_where_its_release_packs_modules() -> None:
    module = b"\x7fELF and the rest"
    assert await kernel.unpack_module(module) == module
    assert await kernel.unpack_module(lzma.compress(module)) == module
    assert kernel.module_name("kernel/drivers/net/virtio-net.ko.xz") == "virtio_net"
    with pytest.raises(kernel.KernelUnusable, match="compressed in a way we do not know"):
        await kernel.unpack_module(b"no module")


def test_a_kernel_is_all_packages_of_its_release() -> None:
    needs = ("linux-base", "dracut", "linux-base-7.2.12+deb14-cloud-amd64", "linux-modules-7.2.12+deb14-cloud-amd64")
    package = debian.Package(name="linux-image-7.2.12+deb14-cloud-amd64", section="kernel", needs=needs)
    assert kernel.parts(package) == [package.name, *needs[2:]]


@pytest.mark.parametrize("place", ["boot/vmlinuz-7.2.12", "lib/modules/7.2.12/vmlinuz"])
def test_the_kernel_itself_is_where_its_package_has_put_it(tmp_path: Path, place: str) -> None:
    (tmp_path / place).parent.mkdir(parents=True)
    (tmp_path / place).write_bytes(b"bzImage")
    assert kernel.Kernel(root=tmp_path, release="7.2.12").image == tmp_path / place
