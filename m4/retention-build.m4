# RETENTION_WARNINGS
# The warnings of Dovecot's own build and a few more; --enable-werror makes
# them errors.
AC_DEFUN([RETENTION_WARNINGS], [
  AC_ARG_ENABLE([werror],
    [AS_HELP_STRING([--enable-werror], [treat compiler warnings as errors])])
  RETENTION_CFLAGS="-Wall -Wextra -Wmissing-prototypes -Wmissing-declarations -Wpointer-arith -Wchar-subscripts -Wformat=2 -Wbad-function-cast -Wstrict-aliasing=2 -Werror=implicit-function-declaration"
  AS_IF([test "$enable_werror" = yes],
    [RETENTION_CFLAGS="$RETENTION_CFLAGS -Werror"])
  AC_SUBST([RETENTION_CFLAGS])
])

# RETENTION_FUZZING
# --enable-fuzzing builds the fuzz targets of tests/ (wants CC=clang).
AC_DEFUN([RETENTION_FUZZING], [
  AC_ARG_ENABLE([fuzzing],
    [AS_HELP_STRING([--enable-fuzzing], [build the libFuzzer targets (CC=clang)])])
  AM_CONDITIONAL([FUZZING], [test "$enable_fuzzing" = yes])
])
