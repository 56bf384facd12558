/* zip_oracle.h - the same archive read by libzip and by src/weights/torch_zip.c: names, sizes and bytes must agree. */
#ifndef DTX_TESTS_ZIP_ORACLE_H
#define DTX_TESTS_ZIP_ORACLE_H

/* Fails the running cmocka test at the first difference; returns the number of entries. Of entries above 1 MiB only the
 * first and last 4 KiB are compared (and so is the place they are said to begin at, which libzip does not tell). */
int zip_oracle_compare(const char *path);

#endif
