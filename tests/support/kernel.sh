# For scripts that boot Debian's kernel in software emulation; sourced, with `work` set to a
# temporary folder. Needs qemu-system-x86_64, busybox (static), cpio, kmod.

# Unpack the kernel into $work/kernel (KERNEL_DEB, or fetched with apt); sets `version`.
unpack_kernel() {
    if [ -z "${KERNEL_DEB:-}" ]; then
        package=$(apt-cache depends linux-image-amd64 | awk '/Depends/ {print $2; exit}')
        (cd "$work" && apt-get -qq download "$package")
        KERNEL_DEB=$(ls "$work"/linux-image-*.deb)
    fi
    dpkg-deb -x "$KERNEL_DEB" "$work/kernel"
    version=$(ls "$work/kernel/lib/modules")
    depmod -b "$work/kernel" "$version"
}

# Make $work/initramfs.gz: busybox, the named modules in the order of their needs, and as /init
# what comes on standard input after the modules are loaded.
pack_initramfs() {
    tree=$work/initramfs
    mkdir -p "$tree/bin" "$tree/modules" "$tree/root"
    cp "$(command -v busybox)" "$tree/bin/busybox"
    for module in "$@"; do
        modprobe -d "$work/kernel" -S "$version" --show-depends "$module"
    done | awk '$1 == "insmod" && !seen[$2]++ {print $2}' >"$work/modules"
    number=100
    while read -r file; do
        cp "$file" "$tree/modules/$number-$(basename "$file")"
        number=$((number + 1))
    done <"$work/modules"
    {
        cat <<'INIT'
#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
/bin/busybox mount -t devtmpfs dev /dev
for module in /modules/*; do /bin/busybox insmod "$module"; done
INIT
        cat
    } >"$tree/init"
    chmod +x "$tree/init"
    (cd "$tree" && find . | cpio -o -H newc --quiet | gzip -1) >"$work/initramfs.gz"
}

# Boot it with a console on standard output; more options for QEMU, and then the machine ends or is
# ended after LIMIT_S. APPEND is added to the kernel's command line.
boot() {
    timeout "${LIMIT_S:-600}" qemu-system-x86_64 -machine q35 -cpu max -smp 2 -nographic \
        -no-reboot -kernel "$work/kernel/boot/vmlinuz-$version" -initrd "$work/initramfs.gz" \
        -append "console=ttyS0 quiet panic=-1 ${APPEND:-}" "$@" </dev/null
}
