################################################################################
#
# reged
#
################################################################################

REGED_VERSION = 140201
REGED_SITE = https://deb.debian.org/debian/pool/main/c/chntpw
REGED_SOURCE = chntpw_$(REGED_VERSION).orig.tar.xz
REGED_LICENSE = LGPL-2.1 (library), GPL-2.0 (reged)
REGED_LICENSE_FILES = LGPL.txt GPL.txt

# Its makefile builds other programs too, for processors of 32 bits.
define REGED_BUILD_CMDS
	cd $(@D) && $(TARGET_CC) $(TARGET_CFLAGS) $(TARGET_LDFLAGS) \
		-o reged reged.c ntreg.c edlib.c
endef

define REGED_INSTALL_TARGET_CMDS
	$(INSTALL) -D -m 0755 $(@D)/reged $(TARGET_DIR)/usr/sbin/reged
endef

$(eval $(generic-package))
