# bondd: two network cards as one that does not fail. `make` lists the targets.

export CGO_ENABLED = 0
GO ?= go
TESTFLAGS ?=
NICS ?= 2
MODEL ?= virtio-net-pci

IMAGE = build/appliance.img
PASSWORD = build/admin-password
# What programs and image are made of: not tests, not descriptions.
SOURCES := $(shell find go.mod go.sum appliance/gokrazy bondd config hwprobe image -type f \
	! -name '*_test.go' ! -path '*/testdata/*' ! -name '*.md')

# What else goes into an image is remembered beside it, in image.env:
#   make image CONFIG=bondd.toml    that file, and in later images too
#   make image CONFIG=              none: the built-in default
#   make image NEW_PASSWORD=1       another password than the last image's
quote = '$(subst ','\'',$(1))'
mkimage = $(GO) run ./image/cmd/mkimage -out $(IMAGE) -password $(PASSWORD) \
	$(if $(filter-out undefined,$(origin CONFIG)),-config $(call quote,$(CONFIG))) \
	$(if $(filter-out 0 no,$(NEW_PASSWORD)),-new-password)

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

.PHONY: deps
deps: ## install what a fresh Debian machine lacks
	@image/deps.sh

.PHONY: bondd
bondd: build/bondd ## the static daemon, linux/amd64: build/bondd
build/bondd: $(SOURCES)
	GOOS=linux GOARCH=amd64 $(GO) build -trimpath -o $@ ./bondd

.PHONY: image
image: deps $(IMAGE) ## the bootable disk, build/appliance.img; CONFIG=bondd.toml puts that file on it
# Always, since mkimage says what is in the image and knows when it has to be built.
$(IMAGE): $(SOURCES) always
	@$(mkimage) $(if $(filter-out always,$?),-changed)
.PHONY: always

.PHONY: run
run: image build/appliance ## boot the image in QEMU with two cards on a virtual switch
	@build/appliance run -image $(IMAGE) -password $(PASSWORD) -nics $(NICS) -nic-model $(MODEL)

.PHONY: unplug plug
unplug: build/appliance ## take a cable of the running machine out: make unplug NIC=eth0
	@build/appliance unplug $(NIC)
plug: build/appliance ## put it back: make plug NIC=eth0
	@build/appliance plug $(NIC)

build/appliance: $(SOURCES)
	@$(GO) build -o $@ ./image/cmd/appliance

# The packages that take longest are named first, so that the others run beside them.
.PHONY: test
test: deps lint race ## every test: unit, kernel in a VM, whole image, browser, Prometheus
	$(GO) test -timeout 150m $(TESTFLAGS) ./bondd/vmtest ./appliance ./...

.PHONY: short
short: ## the tests that need no VM
	BONDD_SKIP=vm,browser,prometheus $(GO) test -short $(TESTFLAGS) ./...

# The packages that need neither a machine nor a browser. Of the simulator, which
# has no goroutines, the scripts are enough.
RACE = ./config/... ./hwprobe/... $(addprefix ./bondd/internal/, address drill engine engine/core failover history \
	kernel metrics neighbour pathcheck reconcile report state statefile statustext)
.PHONY: race
race: ## those of them that need no VM, under the race detector
	CGO_ENABLED=1 $(GO) test -race -short $(TESTFLAGS) $(RACE)
	CGO_ENABLED=1 $(GO) test -race -run TestScripts $(TESTFLAGS) ./bondd/internal/engine/simulator

.PHONY: bench
bench: deps ## failover times beside the peers': build/bench.json, build/bench.md
	@rm -f build/bench.json build/bench.md
	BONDD_GUEST_OUTPUT=$(CURDIR)/build BONDD_BENCH_N=50 $(GO) test -count=1 -timeout 60m ./bondd/internal/bench
	@cat build/bench.md

.PHONY: flash
flash: ## write the image to a real disk: make flash DISK=/dev/sdX
	@$(if $(DISK),,echo 'make flash: on which disk? For example: make flash DISK=/dev/sdX' >&2; exit 2)
	@$(GO) build -o build/flash ./image/cmd/flash
	@build/flash -check $(call quote,$(DISK))
	@$(MAKE) --no-print-directory $(IMAGE)
	@$$(test -w $(call quote,$(DISK)) || command -v sudo) build/flash -image $(IMAGE) $(call quote,$(DISK))

.PHONY: kernel
kernel: ## rebuild image/kernel/vmlinuz from the pinned source (25 minutes of CPU)
	@image/deps.sh kernel
	image/kernel/build.sh

.PHONY: lint
lint: ## gofmt, vet, staticcheck
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { echo "gofmt -w is needed on:"; gofmt -l $$(git ls-files '*.go'); exit 1; }
	$(GO) vet ./...
	$(GO) tool staticcheck ./...
	$(GO) mod verify >/dev/null

.PHONY: clean
clean: ## remove build/, but for the passwords of images that may be in service
	@test ! -d build || find build -mindepth 1 -maxdepth 1 ! -name 'admin-password*' -exec rm -rf {} +
	@rmdir build 2>/dev/null || true
