/* version.h - version and commit of this build, written by cmake/WriteVersion.cmake. */
#ifndef DTX_VERSION_H
#define DTX_VERSION_H

extern const char dtx_version[]; /* "0.1.0" */
extern const char dtx_commit[];  /* "1a2b3c4d5e6f", with "-dirty" when the tree differed; "unknown" outside git */

#endif
