################################################################################
#
# fos-agent
#
################################################################################

FOS_AGENT_VERSION = 0.1.0
# The tree that this file is in.
FOS_AGENT_SITE = $(BR2_EXTERNAL_FOS_PATH)/..
FOS_AGENT_SITE_METHOD = local
FOS_AGENT_LICENSE = MIT or Apache-2.0
FOS_AGENT_LICENSE_FILES = LICENSE-MIT LICENSE-APACHE
FOS_AGENT_OVERRIDE_SRCDIR_RSYNC_EXCLUSIONS = --exclude /target

# The profile of what is shipped. Buildroot's own commands build with
# --release, which cannot be given together with it. The crates are those of
# `cargo vendor`: sources of the method "local" are not completed by Buildroot.
FOS_AGENT_CARGO_OPTS = \
	--offline --locked --profile dist --package fos-agent \
	--config 'source.crates-io.replace-with="vendored"' \
	--config 'source.vendored.directory="vendor"'

define FOS_AGENT_BUILD_CMDS
	cd $(@D) && \
	$(TARGET_MAKE_ENV) $(TARGET_CONFIGURE_OPTS) $(PKG_CARGO_ENV) \
		cargo build $(FOS_AGENT_CARGO_OPTS)
endef

# The links of initramfs/manifest.toml: the agent under its other names.
FOS_AGENT_LINKS = \
	bin/fos-agent \
	bin/partclone.chkimg \
	bin/partclone.info \
	bin/partclone.restore \
	bin/partimage \
	bin/udp-receiver \
	bin/udp-sender \
	bin/unzstd \
	bin/zstd \
	bin/zstdcat

# busybox must not take a name before the agent has its own.
FOS_AGENT_DEPENDENCIES += busybox

define FOS_AGENT_INSTALL_TARGET_CMDS
	$(INSTALL) -D -m 0755 \
		$(@D)/target/$(RUSTC_TARGET_NAME)/dist/fos-agent \
		$(TARGET_DIR)/init
	$(foreach link,$(FOS_AGENT_LINKS), \
		ln -sf /init $(TARGET_DIR)/$(link)$(sep))
endef

# Programs that grow btrfs and XFS look for mounted file systems there.
ifeq ($(BR2_PACKAGE_FOS_AGENT_RESIZE_TOOLS),y)
define FOS_AGENT_LINK_MTAB
	ln -sf /proc/self/mounts $(TARGET_DIR)/etc/mtab
endef
FOS_AGENT_POST_INSTALL_TARGET_HOOKS += FOS_AGENT_LINK_MTAB
endif

# Directories of initramfs/manifest.toml, and a device: without it /init dies
# where the kernel has no console. /dev/console is made by Buildroot.
define FOS_AGENT_PERMISSIONS
	/bin d 755 0 0 - - - - -
	/dev d 755 0 0 - - - - -
	/dev/null c 666 0 0 1 3 0 0 -
	/etc d 755 0 0 - - - - -
	/lib/modules d 755 0 0 - - - - -
	/mnt d 755 0 0 - - - - -
	/proc d 755 0 0 - - - - -
	/root d 755 0 0 - - - - -
	/run d 755 0 0 - - - - -
	/sys d 755 0 0 - - - - -
	/tmp d 1777 0 0 - - - - -
	/var/run d 755 0 0 - - - - -
endef

$(eval $(cargo-package))
