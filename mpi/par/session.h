/* session.h - where Open MPI keeps the files of a process that was started without a launcher. Used by par.c alone. Local. */
#ifndef DTX_SESSION_H
#define DTX_SESSION_H

/* Before MPI starts, in a process without a launcher. All such processes of a user on a node would share one folder, which the
 * first to end removes under the others: this one gets TMPDIR/dtx-mpi-USER-NUMBER, unless OMPI_MCA_orte_tmpdir_base is set.
 * Folders of processes that were killed are removed. Without a folder (no permission) everything is as Open MPI has it. */
void dtx_session_begin(void);
/* After MPI has ended: removes the folder. Called again, and at exit, it does nothing more. */
void dtx_session_end(void);

#endif
