/* The whole of src in a program of its own, without mpi and jobs: core_only.sh looks at what it needs. */
#include <stdio.h>

#include "src/base/version.h"

int main(void)
{
    return printf("%s\n", dtx_version) > 0 ? 0 : 1;
}
