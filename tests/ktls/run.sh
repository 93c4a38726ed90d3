#!/bin/sh
# Boot Debian's kernel, which has tls.ko, in software emulation, over this machine's files, and run
# tests.ktls.guest in it. Needs qemu-system-x86_64, busybox (static), cpio, kmod; PYTHON.
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
python=${PYTHON:-$root/.venv/bin/python}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cd "$work"
if [ -z "${KERNEL_DEB:-}" ]; then
    package=$(apt-cache depends linux-image-amd64 | awk '/Depends/ {print $2; exit}')
    apt-get -qq download "$package"
    KERNEL_DEB=$(ls "$work"/*.deb)
fi
dpkg-deb -x "$KERNEL_DEB" kernel
version=$(ls kernel/lib/modules)
echo "kernel $version"

# Left out on purpose: the kernel's ChaCha20-Poly1305, so that there is a cipher that it can't do.
mkdir -p initramfs/bin initramfs/lib/modules
cp "$(command -v busybox)" initramfs/bin/busybox
depmod -b kernel "$version"
for module in virtio_pci 9pnet_virtio 9p tls gcm ghash_generic aes_generic ctr crc32c_generic; do
    modprobe -d "$work/kernel" -S "$version" --show-depends "$module"
done | awk '$1 == "insmod" && !seen[$2]++ {print $2}' >modules
mkdir initramfs/modules
number=100
while read -r file; do
    cp "$file" "initramfs/modules/$number-$(basename "$file")"
    number=$((number + 1))
done <modules
cat >initramfs/init <<INIT
#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /host
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
/bin/busybox mount -t devtmpfs dev /dev
for module in /modules/*; do /bin/busybox insmod "\$module"; done
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
chmod +x initramfs/init
(cd initramfs && find . | cpio -o -H newc --quiet | gzip -1) >initramfs.gz

timeout "${LIMIT_S:-600}" qemu-system-x86_64 -machine q35 -cpu max -smp 2 -m 1024 -nographic \
    -no-reboot -nic none -kernel "kernel/boot/vmlinuz-$version" -initrd initramfs.gz \
    -append "console=ttyS0 quiet panic=-1" \
    -virtfs local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap |
    tee console
grep -q '^ktls: all good' console
