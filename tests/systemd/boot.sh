#!/bin/sh
# Becomes systemd as PID 1 over a throwaway overlay of the host's root. Runs in namespaces of its own, made by conftest.py:
#
#   boot.sh WORK PARTS   WORK: an empty folder; PARTS: a folder with `tree` (copied over the root) and
#                        `binds` (lines of "SOURCE TARGET", bound read-only)
set -eu
work=$1
parts=$2

mount -t tmpfs -o mode=755 tmpfs "$work"
mkdir "$work/up" "$work/wk" "$work/root"
mount -t overlay -o "lowerdir=/,upperdir=$work/up,workdir=$work/wk" overlay "$work/root"
root=$work/root

# The kernel's settings are the host's: whatever could write them is read-only, before systemd runs.
mount -t proc proc "$root/proc"
for name in sys irq bus fs sysrq-trigger; do
    [ -e "$root/proc/$name" ] || continue
    mount --bind "$root/proc/$name" "$root/proc/$name"
    mount -o remount,bind,ro "$root/proc/$name"
done
mount -t sysfs -o ro sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"

mount -t tmpfs -o mode=755,nosuid tmpfs "$root/dev"
for name in null zero full random urandom tty; do
    : >"$root/dev/$name"
    mount --bind "/dev/$name" "$root/dev/$name"
done
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
mount -t tmpfs tmpfs "$root/dev/shm"
ln -s /proc/self/fd "$root/dev/fd"
ln -s /proc/self/fd/0 "$root/dev/stdin"
ln -s /proc/self/fd/1 "$root/dev/stdout"
ln -s /proc/self/fd/2 "$root/dev/stderr"
mount -t tmpfs -o mode=755,nosuid,nodev tmpfs "$root/run"
# Empty ones: systemd-tmpfiles would remove, file by file, what the host has there.
for name in tmp var/tmp; do
    mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs "$root/$name"
done

# Of the host's own services none is started.
units=$root/etc/systemd/system
mkdir -p "$units"
rm -rf "$units"/*.wants "$units"/statusd.service "$units"/statusd.service.d "$root/opt/statusd" "$root/etc/statusd"
: >"$root/etc/fstab"
: >"$root/etc/machine-id"
for unit in systemd-sysctl.service systemd-modules-load.service systemd-remount-fs.service systemd-binfmt.service \
    systemd-random-seed.service systemd-udevd.service systemd-hwdb-update.service systemd-journald-audit.socket \
    sys-kernel-debug.mount sys-kernel-tracing.mount sys-kernel-config.mount sys-fs-fuse-connections.mount \
    dev-hugepages.mount proc-sys-fs-binfmt_misc.automount; do
    ln -sf /dev/null "$units/$unit"
done
cp -R "$parts/tree/." "$root/"
while read -r source target; do
    mkdir -p "$root$target"
    mount --bind "$source" "$root$target"
    mount -o remount,bind,ro "$root$target"
done <"$parts/binds"
hostname statusd-test

mkdir "$root/.old"
cd "$root"
pivot_root . .old
umount -l .old
# Without it the service's own mounts, its credentials say, would stay empty.
mount --make-rshared /
exec setpriv --bounding-set=-sys_time,-sys_module,-sys_rawio,-sys_boot,-syslog,-mac_admin,-mac_override -- \
    env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin container=statusd-test LANG=C.UTF-8 \
    /lib/systemd/systemd --system --unit=statusd-test.target --show-status=0
