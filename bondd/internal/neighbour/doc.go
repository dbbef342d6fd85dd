// Package neighbour asks hosts on the link for their Ethernet address and reads
// what they answer: by ARP for IPv4, by neighbour discovery for IPv6. Every host
// answers that, whatever else it refuses, so it is how bondd finds out whether
// frames get through.
//
// It is the codec alone, and pure: Question and Parse make and read frames, and
// Protocol says what a packet socket has to be bound to and to let by. The
// pathcheck and drill packages hold the sockets, and judge whether an answer is
// the one that they wait for: Parse refuses only what is no answer to anybody.
//
// The formats are those of RFC 826 (ARP), RFC 5227 (ARP requests without a
// sender address), RFC 8200 (IPv6) and RFC 4861 (neighbour discovery).
package neighbour
