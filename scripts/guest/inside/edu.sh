# A program of the guest drives the edu device, by one of the kernel's drivers for that, which has to be loaded:
#
# edu_by vfio   or uio, memory, identity, as edu.c has them
edu_by() {
  found=$(pci_device 0x1234 0x11e8)
  if [ "$1" = vfio ] || [ "$1" = uio ]; then
    driver=uio_pci_generic
    [ "$1" = vfio ] && driver=vfio-pci
    echo $driver >"$found/driver_override"
    echo "$(basename "$found")" >/sys/bus/pci/drivers_probe
    say edu.driver "$(basename "$(readlink "$found/driver")")"
  fi
  edu "$(basename "$found")" "$1"
}
