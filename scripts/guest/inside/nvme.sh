# The guest's own driver has a disk: makes a file system, writes, and reads back after a remount and after a restart.
#
# sh nvme.sh, or with "restart" as the last thing it does the first time.
disk=/dev/nvme0n1
file=/mnt/file

checksum() { sha256sum <"$1" | cut -d' ' -f1; }

# What is read next comes from the device.
forget() {
  sync
  echo 3 >/proc/sys/vm/drop_caches
}

await test -b $disk
if mount -t ext4 $disk /mnt; then
  say nvme.restarted "$(checksum $file)"
  umount /mnt
else
  mke2fs -F $disk >/dev/null
  mount -t ext4 $disk /mnt
  dd if=/dev/urandom of=$file bs=64k count=32
  printf 'The guest was here.' >/mnt/words
  say nvme.written "$(checksum $file)"
  umount /mnt
  forget
  mount -t ext4 $disk /mnt
  say nvme.remounted "$(checksum $file)"
  umount /mnt
  forget
  # Single blocks, each of which goes to the device: a sector, a page and half of one that begins in the middle of it.
  dd if=$disk iflag=direct bs=512 skip=3 count=40 of=/tmp/sectors
  dd if=$disk bs=512 skip=3 count=40 of=/tmp/cached
  cmp /tmp/sectors /tmp/cached && say nvme.direct equal
  say nvme.disk "$(checksum $disk)"
  say nvme.interrupts "$(grep -c nvme /proc/interrupts)"
fi
