#define _GNU_SOURCE
#include "agent.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define RESOLVE_NO_MAGIC_LINKS 2

bool write_file(const char *path, const char *text) {
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (file < 0)
        return false;
    ssize_t length = (ssize_t)strlen(text);
    bool whole = write(file, text, (size_t)length) == length;
    int number = errno;
    close(file);
    errno = number;
    return whole;
}

char *map_file(const char *path, size_t size) {
    int file = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    char *bytes = MAP_FAILED;
    if (file >= 0 && ftruncate(file, (off_t)size) == 0)
        bytes = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (file >= 0)
        close(file);
    return bytes == MAP_FAILED ? NULL : bytes;
}

static ssize_t read_all(int file, char *buffer, size_t size) {
    buffer[0] = 0;
    if (file < 0)
        return -1;
    size_t filled = 0;
    ssize_t got;
    while (filled < size - 1 && (got = read(file, buffer + filled, size - 1 - filled)) > 0)
        filled += (size_t)got;
    close(file);
    buffer[filled] = 0;
    return (ssize_t)filled;
}

ssize_t read_file(const char *path, char *buffer, size_t size) {
    return read_all(open(path, O_RDONLY | O_CLOEXEC), buffer, size);
}

ssize_t read_foreign_file(const char *path, char *buffer, size_t size) {
    struct how_to_open how = {.flags = O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, .resolve = RESOLVE_NO_MAGIC_LINKS};
    struct stat there;
    int file = (int)syscall(OPENAT2, AT_FDCWD, path, &how, sizeof how);
    if (file >= 0 && (fstat(file, &there) || !S_ISREG(there.st_mode))) {
        close(file);
        file = -1;
        errno = EINVAL;
    }
    return read_all(file, buffer, size);
}

bool make_directories(const char *path, mode_t mode) {
    char part[PATH_MAX];
    size_t length = strlen(path);
    if (length == 0 || length >= sizeof part) {
        errno = length == 0 ? ENOENT : ENAMETOOLONG;
        return false;
    }
    memcpy(part, path, length + 1);
    for (char *slash = part + 1; *slash; slash++) {
        if (*slash != '/')
            continue;
        *slash = 0;
        if (mkdir(part, 0755) && errno != EEXIST)
            return false;
        *slash = '/';
    }
    if (mkdir(part, mode) == 0)
        return true;
    struct stat there;
    return errno == EEXIST && stat(part, &there) == 0 && S_ISDIR(there.st_mode);
}

bool make_parents(const char *path) {
    char parent[PATH_MAX];
    const char *slash = strrchr(path, '/');
    if (!slash || slash == path)
        return true;
    size_t length = (size_t)(slash - path);
    if (length >= sizeof parent) {
        errno = ENAMETOOLONG;
        return false;
    }
    memcpy(parent, path, length);
    parent[length] = 0;
    return make_directories(parent, 0755);
}

bool remove_tree(int directory, const char *name) {
    if (unlinkat(directory, name, 0) == 0 || errno == ENOENT)
        return true;
    int inside = openat(directory, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *listing = inside < 0 ? NULL : fdopendir(inside);
    if (!listing) {
        if (inside >= 0)
            close(inside);
        return false;
    }
    struct dirent *entry;
    while ((entry = readdir(listing)))
        if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
            remove_tree(inside, entry->d_name);
    closedir(listing);
    return unlinkat(directory, name, AT_REMOVEDIR) == 0;
}
