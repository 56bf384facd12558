#include "mpi/par/node_memory.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

/* Node rank 0: a new object of that size, its pages taken at once so that nobody is killed for touching them later. */
static int make(char *name, size_t size, size_t bytes)
{
    static int count;

    snprintf(name, size, "/detoxlens-%ld-%d", (long)getpid(), count++);
    int fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
    if (fd >= 0 && posix_fallocate(fd, 0, (off_t)bytes) != 0) {
        close(fd);
        shm_unlink(name);
        fd = -1;
    }
    return fd;
}

dtx_status dtx_node_memory_new(const dtx_par *par, size_t bytes, void **out)
{
    char name[64] = "";
    void *p = MAP_FAILED;
    int fd = -1, fine, all = 0;

    *out = NULL;
    if (par->node_rank == 0) {
        fd = make(name, sizeof name, bytes);
        name[0] = fd >= 0 ? name[0] : '\0';
    }
    DTX_TRY(DTX_MPI(MPI_Bcast(name, sizeof name, MPI_CHAR, 0, par->node)));
    if (name[0] != '\0') {
        fd = fd >= 0 ? fd : shm_open(name, O_RDWR, 0600);
        p = fd >= 0 ? mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : MAP_FAILED;
    }
    if (fd >= 0) {
        close(fd);
    }
    fine = p != MAP_FAILED;
    dtx_status st = DTX_MPI(MPI_Allreduce(&fine, &all, 1, MPI_INT, MPI_MIN, par->node));
    if (par->node_rank == 0 && name[0] != '\0') {
        shm_unlink(name); /* the maps keep it; nothing is left behind whatever happens */
    }
    if (st == DTX_OK && all) {
        *out = p;
    } else if (fine) {
        munmap(p, bytes);
    }
    return st;
}

void dtx_node_memory_del(void *memory, size_t bytes)
{
    if (memory != NULL) {
        munmap(memory, bytes);
    }
}
