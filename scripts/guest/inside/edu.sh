# A program of the guest drives the edu device, by the kernel's driver for that, which has to be loaded:
#
# edu_by vfio VENDOR DEVICE   or uio or memory, as edu.c has them
edu_by() {
  found=$(pci_device "$2" "$3")
  say edu.found "$(cat "$found/class") $(cat "$found/resource" | head -1)"
  driver=uio_pci_generic
  [ "$1" = vfio ] && driver=vfio-pci
  if [ "$1" != memory ]; then
    echo $driver >"$found/driver_override"
    echo "$(basename "$found")" >/sys/bus/pci/drivers_probe
    say edu.driver "$(basename "$(readlink "$found/driver")")"
  fi
  edu "$(basename "$found")" "$1"
}
