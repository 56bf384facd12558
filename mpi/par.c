#include "mpi/par.h"
