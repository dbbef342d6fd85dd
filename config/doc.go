// Package config turns the TOML file into a typed Config that passed every
// check, or into findings with their place in the file.
//
// It stands at the start of the flow: what it returns is what the rest of bondd
// tries to make true, so that nothing behind it has to doubt a value. It talks
// to no kernel and looks at no NIC: a configuration is good or bad whatever
// machine it is read on.
//
// The way of a file through it:
//
//	document.go  TOML text to a tree in which every key and value knows its place
//	parse.go     tree to Config: known keys, types, forms
//	tables.go    the tables within a bond: paths, slaves, damping
//	check.go     what no key can be judged by alone: within a bond, between bonds
//	repair.go    a line that is not TOML as it was probably meant
//	recognise.go what else a file is: in another encoding, of another program
//	advice.go    keys and values as they were probably meant
//	warn.go      what is good and hardly means what was wanted
//	summary.go   what a good file means, in four lines for each bond
//	options.go   the driver's options, row by row of package bonding's table
//	encode.go    Config back to TOML
//
// The file bondd.toml beside this text is a commented sample of everything that
// a configuration can say.
package config
