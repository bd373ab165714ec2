// Simulates a disk that becomes full or read-only on demand. The program under test loads this
// library before libc. The library intercepts the calls that change files in one folder.
//
// FAULTY_FOLDER names the folder, and FAULTY_SWITCH names the switch file. While the switch file
// contains "full", the disk has no space left. While it contains "read-only", nothing in the folder
// can be changed. The program's child processes do not load the library.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

// Finds libc's own function of this name.
#define REAL(type, name) ((type)dlsym(RTLD_NEXT, name))

typedef int (*open_type)(const char *, int, ...);
typedef ssize_t (*write_type)(int, const void *, size_t);
typedef ssize_t (*pwrite_type)(int, const void *, size_t, off_t);

static const char *folder;
static const char *switch_file;

__attribute__((constructor)) static void start(void) {
    folder = strdup(getenv("FAULTY_FOLDER"));
    switch_file = strdup(getenv("FAULTY_SWITCH"));
    unsetenv("LD_PRELOAD");
}

// Returns the error that the program gets if it changes the file at this path: ENOSPC, EROFS, or 0
// for no error. Outside the folder, there is no error. In the folder, the switch file decides.
static int fault_of_path(const char *path) {
    size_t length = strlen(folder);
    if (strncmp(path, folder, length) != 0 || (path[length] != '/' && path[length] != '\0'))
        return 0;
    char first = 0;
    int kept = errno;
    int file = REAL(open_type, "open")(switch_file, O_RDONLY | O_CLOEXEC);
    if (file >= 0) {
        if (read(file, &first, 1) < 0)
            first = 0;
        close(file);
    }
    errno = kept;
    return first == 'f' ? ENOSPC : first == 'r' ? EROFS : 0;
}

// Returns the error that the program gets if it changes this open file. The rules are those of
// fault_of_path.
static int fault_of(int file) {
    char link[64], path[4096];
    int kept = errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    errno = kept;
    if (length < 0)
        return 0;
    path[length] = '\0';
    return fault_of_path(path);
}

// How many bytes of a write the disk accepts. A full disk accepts half of the bytes, and a
// read-only disk accepts none. Both set errno.
static size_t possible(int file, size_t length) {
    int fault = fault_of(file);
    if (fault == 0)
        return length;
    errno = fault;
    return fault == ENOSPC ? length / 2 : 0;
}

ssize_t write(int file, const void *bytes, size_t length) {
    size_t part = possible(file, length);
    return part == 0 && length > 0 ? -1 : REAL(write_type, "write")(file, bytes, part);
}

ssize_t pwrite(int file, const void *bytes, size_t length, off_t offset) {
    size_t part = possible(file, length);
    return part == 0 && length > 0 ? -1 : REAL(pwrite_type, "pwrite")(file, bytes, part, offset);
}

ssize_t pwrite64(int file, const void *bytes, size_t length, off_t offset) {
    return pwrite(file, bytes, length, offset);
}

int ftruncate(int file, off_t length) {
    struct stat status;
    int fault = fault_of(file);
    // On a real full disk, a program can still shorten a file. So shortening succeeds here too.
    if (fault == ENOSPC && fstat(file, &status) == 0 && length <= status.st_size)
        fault = 0;
    if (fault != 0) {
        errno = fault;
        return -1;
    }
    return REAL(int (*)(int, off_t), "ftruncate")(file, length);
}

int ftruncate64(int file, off_t length) {
    return ftruncate(file, length);
}

int open(const char *path, int flags, ...) {
    va_list arguments;
    va_start(arguments, flags);
    mode_t mode = va_arg(arguments, mode_t);
    va_end(arguments);
    int is_change = (flags & O_ACCMODE) != O_RDONLY || (flags & O_CREAT) != 0;
    if (is_change && fault_of_path(path) == EROFS) {
        errno = EROFS;
        return -1;
    }
    return REAL(open_type, "open")(path, flags, mode);
}

int open64(const char *path, int flags, ...) {
    va_list arguments;
    va_start(arguments, flags);
    mode_t mode = va_arg(arguments, mode_t);
    va_end(arguments);
    return open(path, flags | O_LARGEFILE, mode);
}

int unlink(const char *path) {
    if (fault_of_path(path) == EROFS) {
        errno = EROFS;
        return -1;
    }
    return REAL(int (*)(const char *), "unlink")(path);
}

int mkdir(const char *path, mode_t mode) {
    if (fault_of_path(path) == EROFS) {
        errno = EROFS;
        return -1;
    }
    return REAL(int (*)(const char *, mode_t), "mkdir")(path, mode);
}
