# RETENTION_REQUIRE_PKG_CONFIG
# Stop with the package's name when pkg-config is missing.
AC_DEFUN([RETENTION_REQUIRE_PKG_CONFIG], [
  m4_ifdef([PKG_PROG_PKG_CONFIG], [PKG_PROG_PKG_CONFIG],
    [m4_fatal([pkg.m4 was not found: install the Debian package pkg-config])])
  AS_IF([test -z "$PKG_CONFIG"],
    [AC_MSG_ERROR([pkg-config was not found: install the Debian package pkg-config])])
])

# RETENTION_REQUIRE_DOVECOT
# Find the Dovecot that the plugin is built for; sets the module directories
# and the conditional DOVECOT24 (Dovecot has the settings API of 2.4).
AC_DEFUN([RETENTION_REQUIRE_DOVECOT], [
  m4_ifdef([DC_DOVECOT], [],
    [m4_fatal([dovecot.m4 was not found: install the Debian package dovecot-dev])])
  # DC_DOVECOT looks below $prefix only, which is not where packages put it.
  AS_IF([test -z "$with_dovecot" && test -f /usr/lib/dovecot/dovecot-config],
    [with_dovecot=/usr/lib/dovecot])
  AS_IF([test ! -f "$with_dovecot/dovecot-config" && test ! -f "$prefix/lib/dovecot/dovecot-config"],
    [AC_MSG_ERROR([Dovecot's headers were not found: install the Debian package dovecot-dev, or name the directory of dovecot-config with --with-dovecot=DIR])])
  DC_DOVECOT
  DC_DOVECOT_MODULEDIR
  LIBS="$DOVECOT_LIBS"

  retention_save_CPPFLAGS=$CPPFLAGS
  CPPFLAGS="$CPPFLAGS $LIBDOVECOT_INCLUDE"
  AC_CACHE_CHECK([for the settings API of Dovecot 2.4], [retention_cv_settings_get],
    [AC_COMPILE_IFELSE([AC_LANG_PROGRAM([
#define HAVE_CONFIG_H
#include "lib.h"
#include "settings.h"
], [(void)settings_get_filter;])],
      [retention_cv_settings_get=yes], [retention_cv_settings_get=no])])
  CPPFLAGS=$retention_save_CPPFLAGS
  AM_CONDITIONAL([DOVECOT24], [test "$retention_cv_settings_get" = yes])

  AC_SUBST([doveadm_moduledir], ['${dovecot_moduledir}/doveadm'])
  AC_SUBST([settings_moduledir], ['${dovecot_moduledir}/settings'])
])
