#!/bin/sh
# Makes vmlinuz, initramfs and guest.qcow2 in /build. Runs in a throwaway copy of the lab's base tree; the files of
# the guest lie in /build/files. No root mounts, no loop devices: mtools and syslinux write into the image file.
set -eu
export DEBIAN_FRONTEND=noninteractive LC_ALL=C
apt-get update -qq
apt-get install -y -qq --no-install-recommends \
    busybox-static cpio fdisk kmod mtools qemu-utils syslinux syslinux-common
cd /tmp
package=$(apt-cache depends linux-image-cloud-amd64 | awk '/Depends: linux-image/ { print $2; exit }')
apt-get download -qq -o APT::Sandbox::User=root "$package"
dpkg -x "$package"_*.deb kernel
cp kernel/boot/vmlinuz-* /build/vmlinuz

root=/tmp/initramfs
mkdir -p $root/bin $root/dev $root/etc/acpi $root/lib/modules $root/proc $root/run $root/sys $root/tmp \
    $root/www/cgi-bin
cp /bin/busybox $root/bin/busybox
for applet in $(busybox --list); do
    [ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"
done
ln -s bin/busybox $root/init
ln -s bin $root/sbin
# inetd only for its built-in echo service: busybox cannot answer UDP. Unpacked, not installed: it wants a syslogd.
apt-get download -qq -o APT::Sandbox::User=root inetutils-inetd
dpkg -x inetutils-inetd_*.deb inetd
cp inetd/usr/sbin/inetutils-inetd $root/bin/inetd
# Debian's busybox has no DHCPv6 client either, and nothing that plays a router, which tests do.
apt-get download -qq -o APT::Sandbox::User=root wide-dhcpv6-client libfl2 radvd
for package in wide-dhcpv6-client libfl2 radvd; do
    dpkg -x "$package"_*.deb six
done
cp six/usr/sbin/dhcp6c six/usr/sbin/radvd $root/bin/
mkdir -p $root/lib $root/var/lib/dhcpv6
cp six/usr/lib/*/libfl.so.2 $root/lib/
for library in $(ldd $root/bin/inetd | grep -o '/lib[^ ]*' | sort -u); do
    mkdir -p "$root/${library%/*}"
    cp "$library" "$root/$library"
done
cd /build/files
install -m 755 rc nics hotplug dhcp dhcpv6 dhcpv6-done userdata page $root/etc/
install -m 644 inittab profile inetd.conf $root/etc/
printf 'echo 7/tcp\necho 7/udp\n' >$root/etc/services
printf 'tcp 6 TCP\nudp 17 UDP\n' >$root/etc/protocols
echo 'root:x:0:0:root:/:/bin/sh' >$root/etc/passwd
install -m 755 cgi-bin/* $root/www/cgi-bin/
install -m 755 power-button $root/etc/acpi/
echo 'PWRF power-button' >$root/etc/acpid.conf # acpid looks for it in /etc/acpi

add() { # module: after the ones that it needs, in the order for insmod
    for needed in $(module_needs "$1" | tr , ' '); do
        add "$needed"
    done
    file=$(module_file "$1")
    [ -z "$file" ] || [ -e "$root/lib/modules/${file##*/}" ] || {
        cp "$file" $root/lib/modules/
        echo "${file##*/}" >>$root/lib/modules/order
    }
}
module_file() { # nothing when it is built into the kernel
    find /tmp/kernel/lib/modules -name "$1.ko" -o -name "$(echo "$1" | tr _ -).ko"
}
module_needs() {
    [ -z "$(module_file "$1")" ] || modinfo -F depends "$(module_file "$1")"
}
for module in virtio_pci virtio_net virtio_blk button evdev virtio_balloon; do
    add "$module"
done
(cd $root && find . | sort | cpio -o -H newc --owner=0:0 --quiet) | gzip -9n >/build/initramfs

# One bootable FAT partition from 1 MiB on, for BIOS.
image=/tmp/guest.raw
truncate -s 64M $image
printf 'start=2048, type=c, bootable\n' | sfdisk --quiet $image
dd if=/usr/lib/syslinux/mbr/mbr.bin of=$image bs=440 count=1 conv=notrunc status=none
mformat -i $image@@1M -t 62 -h 64 -s 32 -c 64 -H 2048 -v GUEST :: # large clusters are read in fewer steps
mcopy -i $image@@1M /build/vmlinuz ::vmlinuz
mcopy -i $image@@1M /build/initramfs ::initrd
mcopy -i $image@@1M /build/files/syslinux.cfg ::syslinux.cfg
syslinux --install --offset 1048576 $image
qemu-img convert -f raw -O qcow2 $image /build/guest.qcow2 # as it is: to unpack it is a fifth of an emulated boot
