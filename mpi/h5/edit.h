/* edit.h - a change of a file's structure that is there completely or not at all, without a copy of the file: what is new is
 * written behind the file's end, where nobody looks yet; what changes of its old part (a few blocks of metadata) goes to
 * PATH.journal first, synced and renamed into place, and only then into the file. A launch that finds a journal finishes what a
 * killed one had begun; readers of this program read the file as if it were finished. One process. */
#ifndef DTX_H5_EDIT_H
#define DTX_H5_EDIT_H

#include "mpi/h5/disk.h"

/* Runs `editor` on the file opened for reading and writing, and makes its changes the file's. After any failure (the editor's, a
 * full disk, a device) the file is as it was. */
dtx_status dtx_h5_edit(const char *path, dtx_status (*editor)(hid_t file, void *user), void *user);
/* Finishes the edit of a killed process, where there is one; whoever calls it has the run directory's lock. */
dtx_status dtx_h5_recover(const char *path);
/* For readers: the changes of an unfinished edit, *over NULL where there is none. Free with dtx_h5_overlay_free and dtx_free, after
 * the file is closed. over->fd is the file's, opened for reading. */
dtx_status dtx_h5_unfinished(const char *path, dtx_h5_overlay **over);
/* Puts changes into the journal beside `path`, synced: for dtx_h5_edit, and for tests. */
dtx_status dtx_h5_journal_write(const char *path, const dtx_h5_overlay *over);
/* Bytes that edits of this process have written to journals so far, and edits: for tests and the account of what edits cost. */
int64_t dtx_h5_edit_bytes(int64_t *edits);

#endif
