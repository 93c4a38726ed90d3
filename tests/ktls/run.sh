#!/bin/sh
# Boot Debian's kernel, which has tls.ko, in software emulation, over this machine's files, and run
# tests.ktls.guest in it. Needs qemu-system-x86_64, busybox (static), cpio, kmod; PYTHON.
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
python=${PYTHON:-$root/.venv/bin/python}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# shellcheck source=../support/kernel.sh
. "$root/tests/support/kernel.sh"

unpack_kernel
echo "kernel $version"

# Left out on purpose: the kernel's ChaCha20-Poly1305, so that there is a cipher that it can't do.
pack_initramfs virtio_pci 9pnet_virtio 9p tls gcm ghash_generic aes_generic ctr crc32c_generic <<INIT
/bin/busybox mkdir /host
/bin/busybox mount -t 9p -o trans=virtio,version=9p2000.L,ro,msize=524288 host /host
/bin/busybox mount -t proc proc /host/proc
/bin/busybox mount -t sysfs sysfs /host/sys
/bin/busybox mount -o bind /dev /host/dev
/bin/busybox mount -t tmpfs tmpfs /host/mnt
/bin/busybox ip link set lo up
cd /host
PATH=/usr/sbin:/usr/bin:/sbin:/bin TMPDIR=/mnt PYTHONDONTWRITEBYTECODE=1 \
/bin/busybox chroot /host /bin/sh -c 'cd "$root" && "$python" -m tests.ktls.guest' </dev/null
/bin/busybox poweroff -f
INIT

boot -m 1024 -nic none \
    -virtfs local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap |
    tee "$work/console"
grep -q '^ktls: all good' "$work/console"
