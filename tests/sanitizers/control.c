/* Faults made on purpose, so that study.sh can see that the sanitizers are at work and report: control FAULT. `ordered` is none. */
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static volatile int shared;

static void *count(void *unused)
{
    (void)unused;
    for (int i = 0; i < 100000; i++) {
        shared = shared + 1;
    }
    return NULL;
}

int main(int argc, char **argv)
{
    const char *fault = argc > 1 ? argv[1] : "";
    char *volatile block = malloc(16);

    if (strcmp(fault, "heap") == 0) {
        shared = block[16 + argc];
    } else if (strcmp(fault, "undefined") == 0) {
        shared = INT_MAX - 2 + argc;
        shared = shared + argc;
    } else if (strcmp(fault, "leak") == 0) {
        block = NULL;
    } else if (strcmp(fault, "threads") == 0) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, count, NULL) != 0) {
            return 1;
        }
        count(NULL);
        pthread_join(thread, NULL);
    } else if (strcmp(fault, "openmp") == 0) {
#pragma omp parallel num_threads(2)
        count(NULL);
    } else if (strcmp(fault, "ordered") == 0) {
        int table[2] = {0, 0};
#pragma omp parallel num_threads(2)
        {
#pragma omp for schedule(static)
            for (int i = 0; i < 2; i++) {
                table[i] = i + 1;
            }
#pragma omp for schedule(static)
            for (int i = 0; i < 2; i++) {
                table[1 - i] += i;
            }
#pragma omp critical
            shared = shared + table[0];
        }
    } else {
        fprintf(stderr, "control heap|undefined|leak|threads|openmp|ordered\n");
        return 2;
    }
    free(block);
    return 0;
}
