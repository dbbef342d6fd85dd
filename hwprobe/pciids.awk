# Cuts the PCI ID list of Debian's package pci.ids down to the names of Ethernet cards with their subsystems, and of PCIe
# switches: `go generate` here, after installing that package. What does not call itself one of these is left out.
/^#/ {
	if (!body) print
	next
}
!body { body = 1; print "#\n#\tThis excerpt holds the names of Ethernet cards and of PCIe switches only.\n" }
/^C / { exit }
/^[0-9a-f]/ { vendor = $0; card = 0; next }
/^\t[0-9a-f]/ {
	card = /[Ee]thernet|[Nn]etwork|GbE|[Gg]igabit|LAN|NIC|PCnet|VMXNET|RTL-?8[01]|Connection|BASE-?[TX]|[0-9]G[ b]|NetXtreme|ConnectX/ && !/Wireless|WLAN|Wi-?Fi|802\.11|Bridge|Bluetooth|ATM|ISDN|[Tt]oken|Modem|Fibre|InfiniHost|GPU|Graphics|Storage|SATA|USB|EHCI|UART|IPMI|Reader|HDA|Audio|FireWire|1394|Switch|Infini[Pp]ath|Crypto|[Vv]ideo|LPC|SMBus|IDE|MODEM|Thermal|Root Port/
	if (card || /Packet Switch|PCI[ -]?E(xpress)?.*Switch/ && !/Management|DMA|NT |Endpoint/) {
		if (vendor != "") { print vendor; vendor = "" }
		print
	}
	next
}
card { print }
