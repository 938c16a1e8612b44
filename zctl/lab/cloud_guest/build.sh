#!/bin/sh
# Makes guest.qcow2 in /build: Debian with its cloud kernel, cloud-init as it is packaged, and an SSH server. Runs in a
# throwaway copy of the lab's base tree; no root mounts, no loop devices.
set -eu
export DEBIAN_FRONTEND=noninteractive LC_ALL=C
apt-get update -qq
apt-get install -y -qq --no-install-recommends \
    debian-archive-keyring debootstrap dosfstools e2fsprogs fdisk mtools qemu-utils syslinux syslinux-common
mirror=$(awk '$1 == "deb" { print $2; exit }' /etc/apt/sources.list)
suite=$(awk '$1 == "deb" { print $3; exit }' /etc/apt/sources.list)
root=/build/root
debootstrap --variant=minbase --include=ca-certificates,dbus,ifupdown,iproute2,isc-dhcp-client,systemd,systemd-sysv,udev \
    "$suite" $root "$mirror"
cp /etc/apt/sources.list $root/etc/apt/sources.list
cp /etc/resolv.conf $root/etc/resolv.conf
for proxy in /etc/apt/apt.conf.d/91proxy; do
    [ ! -e $proxy ] || cp $proxy $root/etc/apt/apt.conf.d/
done
printf '#!/bin/sh\nexit 101\n' >$root/usr/sbin/policy-rc.d
chmod 755 $root/usr/sbin/policy-rc.d
mount -t proc proc $root/proc
chroot $root apt-get update -qq
chroot $root apt-get install -y -qq --no-install-recommends \
    cloud-init libnss-myhostname libpam-systemd linux-image-cloud-amd64 openssh-server qemu-guest-agent sudo
cp "$(ls $root/boot/vmlinuz-* | tail -1)" /build/vmlinuz
cp "$(ls $root/boot/initrd.img-* | tail -1)" /build/initrd
chroot $root apt-get clean
umount $root/proc
rm -rf $root/var/lib/apt/lists $root/usr/sbin/policy-rc.d $root/etc/resolv.conf $root/etc/apt/apt.conf.d/91proxy \
    $root/etc/ssh/ssh_host_* $root/etc/hostname $root/usr/share/doc $root/usr/share/locale $root/usr/share/man
mkdir -p $root/var/lib/apt/lists/partial
: >$root/etc/machine-id
echo LANG=C.UTF-8 >$root/etc/default/locale # as in the images that Debian publishes
echo 'LABEL=root / ext4 defaults 0 1' >$root/etc/fstab

# A FAT partition from 1 MiB on that BIOS boots, and the root file system behind it.
image=/build/guest.raw
truncate -s 2300M $image
printf 'start=2048, size=245760, type=c, bootable\nstart=249856, type=83\n' | sfdisk --quiet $image
dd if=/usr/lib/syslinux/mbr/mbr.bin of=$image bs=440 count=1 conv=notrunc status=none
mformat -i $image@@1M -T 245760 -h 64 -s 32 -F -H 2048 -v GUEST ::
mcopy -i $image@@1M /build/vmlinuz ::vmlinuz
mcopy -i $image@@1M /build/initrd ::initrd
mcopy -i $image@@1M /build/files/syslinux.cfg ::syslinux.cfg
syslinux --install --offset 1048576 $image
truncate -s 2100M /build/root.ext4
mkfs.ext4 -q -L root -d $root /build/root.ext4
dd if=/build/root.ext4 of=$image bs=1M seek=122 conv=notrunc,sparse status=none
qemu-img convert -c -f raw -O qcow2 -o compression_type=zstd $image /build/guest.qcow2
rm -rf $root /build/root.ext4 $image /build/initrd /build/vmlinuz
