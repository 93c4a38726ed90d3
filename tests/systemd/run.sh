#!/bin/sh
# Boot a clean Debian with its own kernel and systemd, in software emulation, and try the package in
# it: tests/systemd/guest.py. As root; needs debootstrap, e2fsprogs, and what tests/support/kernel.sh
# needs. FIRST and SECOND are packages that are there already, of two versions.
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# shellcheck source=../support/kernel.sh
. "$root/tests/support/kernel.sh"

FIRST=${FIRST:-$root/$("$root/deploy/debian/build")}
SECOND=${SECOND:-$root/$(VERSION_SUFFIX=+next "$root/deploy/debian/build")}
tree=${TREE:-$work/debian}
[ -d "$tree" ] || "$root/deploy/debian/clean-tree" "$tree" systemd systemd-sysv dbus udev kmod procps \
    iproute2 ethtool logrotate openssl bird2 python3 adduser tzdata
unpack_kernel
echo "kernel $version"

mkdir -p "$tree/root/tests" "$tree/lib/modules/$version"
cp "$FIRST" "$tree/root/first.deb"
cp "$SECOND" "$tree/root/second.deb"
cp -R "$root/tests/systemd" "$tree/root/tests/"
touch "$tree/root/tests/__init__.py"
cp "$root/docs/manual.md" "$tree/root/"
# Of the modules those for network and TLS; all of them would take longer to copy than the test.
for part in kernel/net kernel/block kernel/crypto kernel/arch kernel/lib \
    modules.builtin modules.order; do
    mkdir -p "$(dirname "$tree/lib/modules/$version/$part")"
    cp -R "$work/kernel/lib/modules/$version/$part" "$tree/lib/modules/$version/$part"
done
depmod -b "$tree" "$version"
cat >"$tree/etc/systemd/system/try.service" <<'UNIT'
[Unit]
After=multi-user.target
[Service]
Type=oneshot
WorkingDirectory=/root
ExecStart=/usr/bin/python3 -B -m tests.systemd.guest
ExecStopPost=/usr/bin/systemctl --no-block poweroff
StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS0
Environment=PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8
[Install]
WantedBy=graphical.target
UNIT
mkdir -p "$tree/etc/systemd/system/graphical.target.wants"
ln -sf ../try.service "$tree/etc/systemd/system/graphical.target.wants/try.service"
ln -sf /dev/null "$tree/etc/systemd/system/serial-getty@ttyS0.service"
truncate -s 3G "$work/disk"
mkfs.ext4 -q -d "$tree" "$work/disk"
truncate -s 64M "$work/disk1"  # the manual's, for content
mkfs.ext4 -q -L disk1 "$work/disk1"

pack_initramfs virtio_pci nvme ext4 crc32c_generic e1000 <<'INIT'
/bin/busybox mkdir /new
/bin/busybox mount -t ext4 /dev/nvme0n1 /new
/bin/busybox umount /proc /sys
/bin/busybox mount -o move /dev /new/dev
exec /bin/busybox switch_root /new /lib/systemd/systemd
INIT
LIMIT_S=${LIMIT_S:-1500} APPEND="systemd.show_status=no net.ifnames=0 rw" boot -m 2048 \
    -nic user,restrict=on,model=e1000 \
    -drive file="$work/disk",format=raw,if=none,id=disk,cache=unsafe \
    -device nvme,serial=1,drive=disk \
    -drive file="$work/disk1",format=raw,if=none,id=disk1,cache=unsafe \
    -device nvme,serial=2,drive=disk1 | tee "$work/console"
grep -q '^systemd: all good' "$work/console"
