// Package usbcard gives a test a network card whose device can die under its
// driver: the interface stays, up and with carrier, and ethtool answers for it
// "no such device", as it does for a PCI card whose slot has lost it.
//
// The card is QEMU's usb-net at an xHCI controller. Dead it is between the two
// steps of its removal: the USB core refuses every transfer to it, upon which
// its driver detaches the interface (rx_submit, drivers/net/usb/usbnet.c), and
// waits for the device's lock to have the driver let it go (usb_disconnect,
// drivers/usb/core/hub.c). A process of the test's holds that lock: it reads
// the device's descriptors, under the lock, to a page of a file system that is
// frozen, and so waits until that is thawed.
package usbcard
