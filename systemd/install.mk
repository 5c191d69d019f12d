# sudo make install           puts twinwatch into /opt/twinwatch and its systemd files beside it; again: an upgrade
# sudo make install CUDA=1    the same with the CUDA libraries and the drop-in for the GPU
# sudo make uninstall         takes that away, and leaves the configuration, the state, the log and all quarantines
#
# DESTDIR=FOLDER stages everything below FOLDER, as for a package: made for the final paths, and no user is made, no
# service reloaded.

PREFIX ?= /usr/local
APPDIR ?= /opt/twinwatch
# Of the system, not of somebody's home, which the service cannot see.
SYSTEM_PYTHON ?= $(firstword $(wildcard /usr/bin/python3.11 /usr/local/bin/python3.11) python3.11)
CUDA ?=

APP := $(DESTDIR)$(APPDIR)
UNITS := $(DESTDIR)$(PREFIX)/lib/systemd/system
SYSUSERS := $(DESTDIR)$(PREFIX)/lib/sysusers.d/twinwatch.conf
TMPFILES := $(DESTDIR)$(PREFIX)/lib/tmpfiles.d/twinwatch.conf
DOC := $(DESTDIR)$(PREFIX)/share/doc/twinwatch
LINK := $(DESTDIR)$(PREFIX)/bin/twinwatch
DROPIN := $(DESTDIR)/etc/systemd/system/twinwatch.service.d/cuda.conf
CONFIG := $(DESTDIR)/etc/twinwatch/config.yaml
ROTATE := $(DESTDIR)/etc/logrotate.d/twinwatch

# There while systemd runs the system.
BOOTED ?= /run/systemd/system
# True where the files just laid out are those of the running system.
LIVE := test -z "$(DESTDIR)" && test -d "$(BOOTED)"

.PHONY: install install-app install-files uninstall

install: install-app install-files
	@if $(LIVE); then \
		systemd-sysusers "$(SYSUSERS)" && systemd-tmpfiles --create "$(TMPFILES)" && systemctl daemon-reload; \
	elif test -z "$(DESTDIR)"; then \
		echo "systemd does not run here, so the user twinwatch and its folders were not made. To make them:"; \
		echo "  sudo systemd-sysusers $(SYSUSERS)"; \
		echo "  sudo systemd-tmpfiles --create $(TMPFILES)"; \
	fi
	@echo "Installed: $(APP), $(LINK) and twinwatch.service. What to do next:"
	@echo "  1. name the folders to watch in $(CONFIG)"
	@echo "  2. for folders with quarantine, or below /home: systemctl edit twinwatch  ($(DOC)/roots.conf.example)"
	@echo "  3. sudo twinwatch check"
	@echo "  4. sudo systemctl enable --now twinwatch  (after an upgrade: sudo systemctl restart twinwatch)"

install-app:
	@case "$$($(SYSTEM_PYTHON) -c 'import sys; print(sys.base_prefix)')" in /root/*|/home/*) \
		echo "$(SYSTEM_PYTHON) lives in a home folder, which the service cannot see; name another: SYSTEM_PYTHON=" >&2; \
		exit 2;; esac
	umask 022 && $(SYSTEM_PYTHON) -m venv "$(APP)"
	umask 022 && "$(APP)/bin/python" -m pip --disable-pip-version-check install --quiet -c constraints.txt \
		"$(if $(CUDA),.[cuda],.)"
	@# A virtual environment records where it was made; a staged one must name the place where it will be.
	@if test -n "$(DESTDIR)"; then \
		grep -rlIF "$(APP)" "$(APP)/bin" "$(APP)/pyvenv.cfg" | xargs -r sed -i 's|$(APP)|$(APPDIR)|g'; \
	fi

install-files:
	install -d -m 755 "$(UNITS)" "$(dir $(SYSUSERS))" "$(dir $(TMPFILES))" "$(DOC)" "$(dir $(LINK))" \
		"$(dir $(CONFIG))" "$(dir $(ROTATE))"
	ln -sfn "$(APPDIR)/bin/twinwatch" "$(LINK)"
	sed 's|/opt/twinwatch|$(APPDIR)|g' systemd/twinwatch.service | install -m 644 /dev/stdin "$(UNITS)/twinwatch.service"
	install -m 644 systemd/twinwatch.sysusers "$(SYSUSERS)"
	install -m 644 systemd/twinwatch.tmpfiles "$(TMPFILES)"
	install -m 644 config.example.yaml systemd/roots.conf.example systemd/cuda.conf "$(DOC)"
	$(if $(CUDA),install -D -m 644 systemd/cuda.conf "$(DROPIN)")
	@# What an admin edits is never overwritten.
	test -e "$(ROTATE)" || install -m 644 systemd/twinwatch.logrotate "$(ROTATE)"
	test -e "$(CONFIG)" || install -m 644 config.example.yaml "$(CONFIG)"

uninstall:
	@if $(LIVE); then systemctl disable --now twinwatch.service || true; fi
	@# Only what is known to be ours: an edited file stays, and a folder goes only if it is a virtual environment.
	@if test "$$(readlink "$(LINK)")" = "$(APPDIR)/bin/twinwatch"; then rm -f "$(LINK)"; fi
	@for pair in "systemd/twinwatch.logrotate $(ROTATE)" "systemd/cuda.conf $(DROPIN)"; do \
		set -- $$pair; if cmp -s "$$1" "$$2"; then rm -f "$$2"; fi; done
	@rm -f "$(UNITS)/twinwatch.service" "$(SYSUSERS)" "$(TMPFILES)"
	@rm -rf "$(DOC)"
	@if test -f "$(APP)/pyvenv.cfg"; then rm -rf "$(APP)"; fi
	@rmdir "$(dir $(DROPIN))" 2>/dev/null || true
	@if $(LIVE); then systemctl daemon-reload; fi
	@echo "Uninstalled. Left as they are, with the user twinwatch and the quarantine (.twinwatch) in every watched folder:"
	@for place in "$(CONFIG)" "$(ROTATE)" "$(dir $(DROPIN))" "$(DESTDIR)/var/lib/twinwatch" \
			"$(DESTDIR)/var/log/twinwatch"; do \
		if test -e "$$place"; then echo "  $$place"; fi; done
