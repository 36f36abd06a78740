#define _GNU_SOURCE
#include "tar.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define TEMPORARY ".kontinuum-arriving"
#define SEEN_LIMIT 100000
#define RESOLVE_NO_SYMLINKS 4
#define RESOLVE_BENEATH 8

bool remove_tree(int directory, const char *name);

struct how {
    uint64_t flags, mode, resolve;
};

void tar_begin(struct tar *tar, int root) {
    memset(tar, 0, sizeof *tar);
    tar->root = root;
    tar->file = -1;
}

const char *tar_entry(const struct tar *tar) {
    return tar->path[0] ? tar->path : "the archive";
}

static bool invalid(void) {
    errno = EBADMSG;
    return false;
}

/* Octal digits, or (GNU) a binary number marked by its first bit. */
static bool number(const uint8_t *field, size_t size, uint64_t *value) {
    *value = 0;
    if (field[0] & 0x80) {
        for (size_t i = size - 8; i < size; i++)
            *value = *value << 8 | field[i];
        return true;
    }
    for (size_t i = 0; i < size && field[i] && field[i] != ' '; i++) {
        if (field[i] < '0' || field[i] > '7')
            return invalid();
        *value = *value << 3 | (uint64_t)(field[i] - '0');
    }
    return true;
}

/* "./a/b/" becomes "a/b"; the root becomes "". Anything that could lead elsewhere is refused. */
static bool clean(char *path) {
    char *from = path, *to = path;
    while (*from) {
        size_t length = strcspn(from, "/");
        bool dots = length == 2 && from[0] == '.' && from[1] == '.';
        if (dots || length > NAME_MAX)
            return invalid();
        if (length > 0 && !(length == 1 && from[0] == '.')) {
            if (to != path)
                *to++ = '/';
            memmove(to, from, length);
            to += length;
            from += length;
        } else {
            from += length;
        }
        from += *from == '/';
    }
    *to = 0;
    return true;
}

static bool remember(struct tar *tar, const char *path) {
    if (tar->seen_count == tar->seen_capacity) {
        size_t capacity = tar->seen_capacity ? tar->seen_capacity * 2 : 32;
        char **larger = capacity > SEEN_LIMIT ? NULL : realloc(tar->seen, capacity * sizeof *larger);
        errno = E2BIG;
        if (!larger)
            return false;
        tar->seen = larger;
        tar->seen_capacity = capacity;
    }
    return (tar->seen[tar->seen_count] = strdup(path)) && ++tar->seen_count;
}

/* The directory an entry lies in, and its last name. -1: errno. */
static int open_parent(struct tar *tar, const char *path, const char **name, bool make) {
    char parent[PATH_MAX];
    const char *slash = strrchr(path, '/');
    *name = slash ? slash + 1 : path;
    if (!slash)
        return fcntl(tar->root, F_DUPFD_CLOEXEC, 3);
    size_t length = (size_t)(slash - path);
    memcpy(parent, path, length);
    parent[length] = 0;
    struct how how = {.flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC, .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS};
    int directory = (int)syscall(SYS_openat2, tar->root, parent, &how, sizeof how);
    if (directory < 0 && errno == ENOENT && make) {
        const char *last;
        int above = open_parent(tar, parent, &last, true);
        if (above < 0)
            return -1;
        bool made = mkdirat(above, last, 0755) == 0 || errno == EEXIST;
        close(above);
        if (made)
            directory = (int)syscall(SYS_openat2, tar->root, parent, &how, sizeof how);
    }
    return directory;
}

static bool make_directory(struct tar *tar, int parent, const char *name) {
    struct stat there;
    if (fstatat(parent, name, &there, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISDIR(there.st_mode) && unlinkat(parent, name, 0))
        return false;
    if (mkdirat(parent, name, 0755) && errno != EEXIST)
        return false;
    return fchownat(parent, name, tar->owner, tar->group, AT_SYMLINK_NOFOLLOW) == 0 &&
           fchmodat(parent, name, tar->mode, 0) == 0;
}

/* Something made under the temporary name takes its place; a directory in the way goes first. */
static bool put_in_place(int parent, const char *name) {
    if (renameat(parent, TEMPORARY, parent, name) == 0)
        return true;
    return (errno == EISDIR || errno == ENOTEMPTY || errno == EEXIST) && remove_tree(parent, name) &&
           renameat(parent, TEMPORARY, parent, name) == 0;
}

static bool make_link(struct tar *tar, int parent, const char *name) {
    return symlinkat(tar->link, parent, TEMPORARY) == 0 &&
           fchownat(parent, TEMPORARY, tar->owner, tar->group, AT_SYMLINK_NOFOLLOW) == 0 && put_in_place(parent, name);
}

static bool make_hard_link(struct tar *tar, int parent, const char *name) {
    const char *other;
    if (!clean(tar->link) || !*tar->link)
        return invalid();
    int from = open_parent(tar, tar->link, &other, false);
    bool made = from >= 0 && linkat(from, other, parent, TEMPORARY, 0) == 0 && put_in_place(parent, name);
    if (from >= 0)
        close(from);
    return made;
}

static bool begin_file(struct tar *tar, int parent, const char *name) {
    (void)name;
    tar->file = openat(parent, TEMPORARY, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    return tar->file >= 0 && fchown(tar->file, tar->owner, tar->group) == 0 && fchmod(tar->file, tar->mode) == 0;
}

static bool end_file(struct tar *tar) {
    const char *name;
    close(tar->file);
    tar->file = -1;
    int parent = open_parent(tar, tar->path, &name, false);
    bool placed = parent >= 0 && put_in_place(parent, name);
    if (parent >= 0)
        close(parent);
    return placed;
}

static bool begin_entry(struct tar *tar) {
    bool (*make)(struct tar *, int, const char *) = NULL;
    switch (tar->kind) {
    case '5': make = make_directory; break;
    case '2': make = make_link; break;
    case '1': make = make_hard_link; break;
    case '0': case 0: case '7': make = begin_file; break;
    default: return true; /* devices, sockets: nothing that a volume holds */
    }
    if (!*tar->path)
        return tar->kind == '5' && fchown(tar->root, tar->owner, tar->group) == 0 && fchmod(tar->root, tar->mode) == 0;
    const char *name;
    int parent = open_parent(tar, tar->path, &name, true);
    if (parent < 0)
        return false;
    remove_tree(parent, TEMPORARY); /* of an attempt that was cut short */
    bool made = remember(tar, tar->path) && make(tar, parent, name);
    close(parent);
    return made;
}

static void copy_field(char *to, const uint8_t *field, size_t size) {
    size_t length = strnlen((const char *)field, size);
    memcpy(to, field, length);
    to[length] = 0;
}

static bool header_is_sound(const uint8_t *header) {
    uint64_t stated, sum = 0;
    for (size_t i = 0; i < TAR_BLOCK; i++)
        sum += i >= 148 && i < 156 ? ' ' : header[i];
    return number(header + 148, 8, &stated) && stated == sum ? true : invalid();
}

static void read_names(struct tar *tar) {
    char name[101], prefix[156];
    copy_field(name, tar->header, 100);
    copy_field(prefix, tar->header + 345, 155);
    if (memcmp(tar->header + 257, "ustar\0", 6))
        prefix[0] = 0;
    snprintf(tar->path, sizeof tar->path, *prefix ? "%s/%s" : "%s%s", prefix, name);
    copy_field(tar->link, tar->header + 157, 100);
    if (*tar->next_path)
        strcpy(tar->path, tar->next_path);
    if (*tar->next_link)
        strcpy(tar->link, tar->next_link);
}

static bool read_header(struct tar *tar) {
    uint64_t mode, owner, group, size;
    if (!header_is_sound(tar->header) || !number(tar->header + 100, 8, &mode) || !number(tar->header + 108, 8, &owner) ||
        !number(tar->header + 116, 8, &group) || !number(tar->header + 124, 12, &size))
        return false;
    tar->kind = (char)tar->header[156];
    if (strchr("xgLK", tar->kind) && tar->kind) {
        tar->extension_filled = 0;
        tar->content = size;
        tar->padding = -size % TAR_BLOCK;
        return size <= TAR_EXTENSION_LIMIT ? true : invalid();
    }
    read_names(tar);
    tar->mode = (mode_t)(mode & 07777);
    tar->owner = (uid_t)(tar->has_owner ? tar->next_owner : owner);
    tar->group = (gid_t)(tar->has_group ? tar->next_group : group);
    bool has_content = tar->kind == '0' || tar->kind == 0 || tar->kind == '7';
    tar->content = tar->has_size ? tar->next_size : has_content ? size : 0;
    tar->padding = -tar->content % TAR_BLOCK;
    tar->next_path[0] = tar->next_link[0] = 0;
    tar->has_size = tar->has_owner = tar->has_group = false;
    return clean(tar->path) && begin_entry(tar);
}

static bool set_next(char *to, const char *value, size_t length) {
    if (length >= PATH_MAX || memchr(value, 0, length))
        return invalid();
    memcpy(to, value, length);
    to[length] = 0;
    return true;
}

/* One pax record: "LENGTH KEY=VALUE\n", of which the caller has found the ends. */
static bool read_record(struct tar *tar, const char *key, size_t key_length, const char *value, size_t length) {
#define IS(name) (key_length == sizeof(name) - 1 && !memcmp(key, name, key_length))
    if (IS("path"))
        return set_next(tar->next_path, value, length);
    if (IS("linkpath"))
        return set_next(tar->next_link, value, length);
    if (IS("size")) {
        tar->has_size = true;
        tar->next_size = strtoull(value, NULL, 10);
    } else if (IS("uid")) {
        tar->has_owner = true;
        tar->next_owner = strtoull(value, NULL, 10);
    } else if (IS("gid")) {
        tar->has_group = true;
        tar->next_group = strtoull(value, NULL, 10);
    }
    return true;
#undef IS
}

static bool read_pax(struct tar *tar) {
    const char *at = tar->extension, *end = tar->extension + tar->extension_filled;
    while (at < end) {
        char *space;
        unsigned long length = strtoul(at, &space, 10);
        const char *equals = *space == ' ' ? memchr(space, '=', (size_t)(end - space)) : NULL;
        if (length == 0 || length > (unsigned long)(end - at) || !equals || equals >= at + length - 1 ||
            at[length - 1] != '\n')
            return invalid();
        const char *value = equals + 1;
        if (!read_record(tar, space + 1, (size_t)(equals - space - 1), value, (size_t)(at + length - 1 - value)))
            return false;
        at += length;
    }
    return true;
}

static bool end_entry(struct tar *tar) {
    size_t length = strnlen(tar->extension, tar->extension_filled);
    switch (tar->kind) {
    case 'x': return read_pax(tar);
    case 'L': return set_next(tar->next_path, tar->extension, length);
    case 'K': return set_next(tar->next_link, tar->extension, length);
    default: return tar->file < 0 || end_file(tar);
    }
}

static bool take_content(struct tar *tar, const uint8_t *bytes, size_t length) {
    if (tar->kind && strchr("xgLK", tar->kind)) {
        memcpy(tar->extension + tar->extension_filled, bytes, length);
        tar->extension_filled += length;
        tar->extension[tar->extension_filled] = 0;
        return true;
    }
    while (tar->file >= 0 && length > 0) {
        ssize_t written = write(tar->file, bytes, length);
        if (written <= 0)
            return false;
        bytes += written;
        length -= (size_t)written;
    }
    return true;
}

static bool all_zero(const uint8_t *block) {
    for (size_t i = 0; i < TAR_BLOCK; i++)
        if (block[i])
            return false;
    return true;
}

bool tar_feed(struct tar *tar, const uint8_t *bytes, size_t length) {
    while (length > 0 && !tar->ended) {
        size_t taken;
        if (tar->content > 0) {
            taken = tar->content < length ? (size_t)tar->content : length;
            if (!take_content(tar, bytes, taken))
                return false;
            tar->content -= taken;
            if (tar->content == 0 && !end_entry(tar))
                return false;
        } else if (tar->padding > 0) {
            taken = tar->padding < length ? (size_t)tar->padding : length;
            tar->padding -= taken;
        } else {
            size_t missing = TAR_BLOCK - tar->header_filled;
            taken = missing < length ? missing : length;
            memcpy(tar->header + tar->header_filled, bytes, taken);
            tar->header_filled += taken;
            if (tar->header_filled == TAR_BLOCK) {
                tar->header_filled = 0;
                tar->ended = all_zero(tar->header);
                if (!tar->ended && (!read_header(tar) || (tar->content == 0 && !end_entry(tar))))
                    return false;
            }
        }
        bytes += taken;
        length -= taken;
    }
    return true;
}

static bool was_seen(const struct tar *tar, const char *path) {
    size_t length = strlen(path);
    for (size_t i = 0; i < tar->seen_count; i++)
        if (!strncmp(tar->seen[i], path, length) && (tar->seen[i][length] == 0 || tar->seen[i][length] == '/'))
            return true;
    return false;
}

static void sweep(const struct tar *tar, int directory, const char *prefix) {
    DIR *listing = fdopendir(directory);
    struct dirent *entry;
    if (!listing) {
        close(directory);
        return;
    }
    while ((entry = readdir(listing))) {
        char path[PATH_MAX];
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
            continue;
        int length = snprintf(path, sizeof path, *prefix ? "%s/%s" : "%s%s", prefix, entry->d_name);
        if (length < 0 || length >= (int)sizeof path || !was_seen(tar, path)) {
            remove_tree(dirfd(listing), entry->d_name);
            continue;
        }
        int inside = openat(dirfd(listing), entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (inside >= 0)
            sweep(tar, inside, path);
    }
    closedir(listing);
}

bool tar_finish(struct tar *tar) {
    if (!tar->ended)
        return invalid();
    int root = openat(tar->root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root < 0)
        return false;
    sweep(tar, root, "");
    return true;
}

void tar_release(struct tar *tar) {
    if (tar->file >= 0)
        close(tar->file);
    close(tar->root);
    for (size_t i = 0; i < tar->seen_count; i++)
        free(tar->seen[i]);
    free(tar->seen);
}
