/* Loaded before the C library: while the file named by FAILING_DISK exists, a call on a file whose name ends as its
 * first line says fails as a broken disk does. Its second line is `sync` or `grow`, its third how often; without the file it begins anew. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static int fails(int descriptor, const char *what) {
    static int failed = 0;
    char link[64], name[4096], suffix[64], kind[64];
    int times;
    const char *control = getenv("FAILING_DISK");
    FILE *file = control ? fopen(control, "re") : NULL;
    if (!file) return failed = 0;
    int read = fscanf(file, "%63s %63s %d", suffix, kind, &times);
    fclose(file);
    if (read != 3 || strcmp(kind, what) || failed >= times) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, name, sizeof name - 1);
    if (length < (ssize_t)strlen(suffix)) return 0;
    name[length] = 0;
    if (strcmp(name + length - strlen(suffix), suffix)) return 0;
    failed++;
    errno = strcmp(what, "sync") ? ENOSPC : EIO;
    return 1;
}

#define REAL(name, type) ((type)dlsym(RTLD_NEXT, name))

int fsync(int descriptor) {
    return fails(descriptor, "sync") ? -1 : REAL("fsync", int (*)(int))(descriptor);
}

int fdatasync(int descriptor) {
    return fails(descriptor, "sync") ? -1 : REAL("fdatasync", int (*)(int))(descriptor);
}

ssize_t pwrite64(int descriptor, const void *data, size_t size, off64_t at) {
    if (fails(descriptor, "grow")) return -1;
    return REAL("pwrite64", ssize_t (*)(int, const void *, size_t, off64_t))(descriptor, data, size, at);
}

ssize_t pwrite(int descriptor, const void *data, size_t size, off_t at) {
    if (fails(descriptor, "grow")) return -1;
    return REAL("pwrite", ssize_t (*)(int, const void *, size_t, off_t))(descriptor, data, size, at);
}
