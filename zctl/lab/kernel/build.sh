#!/bin/sh
# Makes vmlinuz and initramfs in /build and puts the kernel's modules and what uses them into the tree. Runs in a
# throwaway copy of the lab's base tree; the files of the initramfs lie in /build/files.
set -eu
export DEBIAN_FRONTEND=noninteractive LC_ALL=C
printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
chmod 755 /usr/sbin/policy-rc.d
apt-get update -qq
apt-get install -y -qq --no-install-recommends lvm2 nfs-kernel-server nfs-common open-iscsi targetcli-fb
rm /usr/sbin/policy-rc.d
# Whoever needs one starts it: at boot they would keep a slow machine busy for longer than everything else.
for unit in nfs-server nfs-client.target nfs-blkmap rpcbind.service rpcbind.socket rpc-statd rpc-statd-notify \
    rtslib-fb-targetctl open-iscsi iscsid iscsid.socket lvm2-monitor lvm2-lvmpolld.socket blk-availability \
    dm-event.socket; do
    systemctl disable -q "$unit" 2>/dev/null || true
done
cd /tmp
package=$(apt-cache depends linux-image-cloud-amd64 | awk '/Depends: linux-image/ { print $2; exit }')
# Unpacked, not installed: the packages want to make an initramfs and a boot menu, and replace the host's busybox.
apt-get download -qq -o APT::Sandbox::User=root "$package" busybox-static cpio
for file in *.deb; do dpkg -x "$file" unpacked; done
cp unpacked/boot/vmlinuz-* /build/vmlinuz
version=$(basename unpacked/lib/modules/*)
mkdir -p /usr/lib/modules
cp -a unpacked/lib/modules/. /usr/lib/modules/
depmod "$version"

root=/tmp/initramfs
mkdir -p $root/bin $root/dev $root/host $root/modules $root/proc $root/root $root/sys
cp unpacked/bin/busybox $root/bin/busybox
for applet in sh mount umount insmod sleep cp touch switch_root cat; do ln -s busybox $root/bin/$applet; done
install -m 755 /build/files/init $root/init
for module in virtio_pci virtio_blk virtio_net ext4; do
    modprobe --set-version "$version" --show-depends "$module" | while read -r word file _; do
        [ "$word" = insmod ] && ! [ -e "$root/modules/${file##*/}" ] || continue
        cp "$file" $root/modules/
        echo "${file##*/}" >>$root/modules/order
    done
done
(cd $root && find . | sort | /tmp/unpacked/bin/cpio -o -H newc --owner=0:0 --quiet) >/build/initramfs
cd /
apt-get clean
rm -rf /tmp/initramfs /tmp/unpacked /tmp/*.deb /var/lib/apt/lists
mkdir -p /var/lib/apt/lists/partial
