# The guest's own driver has a disk: makes a file system, writes, and reads back after a remount and after a restart.
disk=/dev/nvme0n1
file=/mnt/file

checksum() { sha256sum <"$1" | cut -d' ' -f1; }

# What is read next comes from the device.
forget() {
  sync
  echo 3 >/proc/sys/vm/drop_caches
}

# How the driver is interrupted: MSI or MSIX.
nvme_interrupts() { grep nvme0q /proc/interrupts | grep -o 'PCI-MSIX*' | sort -u | cut -d- -f2; }

# The first run, on an empty disk.
nvme_fill() {
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
  # Block by block, past the cache of the guest, and as the cache has it: each read is a command of the device.
  dd if=$disk iflag=direct bs=512 skip=3 count=40 of=/tmp/sectors
  dd if=$disk bs=512 skip=3 count=40 of=/tmp/cached
  cmp /tmp/sectors /tmp/cached && say nvme.direct equal
  say nvme.disk "$(checksum $disk)"
  say nvme.interrupts "$(nvme_interrupts)"
}

# A later run: what the first one wrote. Fails in the first one.
nvme_again() {
  mount -t ext4 $disk /mnt || return
  say nvme.restarted "$(checksum $file)"
  umount /mnt
}
