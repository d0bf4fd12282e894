# RETENTION_REQUIRE_LZ4
AC_DEFUN([RETENTION_REQUIRE_LZ4], [
  PKG_CHECK_MODULES([LZ4], [liblz4], [],
    [AC_MSG_ERROR([liblz4 was not found: install the Debian package liblz4-dev])])
])

# RETENTION_REQUIRE_CRYPTO
AC_DEFUN([RETENTION_REQUIRE_CRYPTO], [
  PKG_CHECK_MODULES([CRYPTO], [libcrypto >= 1.1.1], [],
    [AC_MSG_ERROR([OpenSSL's libcrypto 1.1.1 or later was not found: install the Debian package libssl-dev])])
])
