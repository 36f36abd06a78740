/* The machine's own mounts, and those of a container as the OCI runtime specification words them. */
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define BASE "/base"
#define OPEN_TREE_CLONE 1
#define AT_RECURSIVE_ 0x8000
#define MOVE_MOUNT_EMPTY_SOURCE 4
#define RESOLVE_NO_LINKS 4
#define ATTR_READ_ONLY 1
#define ATTR_NO_SUID 2
#define ATTR_NO_DEVICES 4
#define ATTR_NO_EXECUTE 8

struct mount_attributes {
    uint64_t set, clear, propagation, user_namespace;
};

static const struct flag {
    const char *option;
    unsigned long set, clear;
    uint64_t attribute;
} FLAGS[] = {
    {"ro", MS_RDONLY, 0, ATTR_READ_ONLY},
    {"rw", 0, MS_RDONLY, 0},
    {"nosuid", MS_NOSUID, 0, ATTR_NO_SUID},
    {"suid", 0, MS_NOSUID, 0},
    {"nodev", MS_NODEV, 0, ATTR_NO_DEVICES},
    {"dev", 0, MS_NODEV, 0},
    {"noexec", MS_NOEXEC, 0, ATTR_NO_EXECUTE},
    {"exec", 0, MS_NOEXEC, 0},
    {"sync", MS_SYNCHRONOUS, 0, 0},
    {"noatime", MS_NOATIME, 0, 0},
    {"nodiratime", MS_NODIRATIME, 0, 0},
    {"relatime", MS_RELATIME, 0, 0},
    {"strictatime", MS_STRICTATIME, 0, 0},
    {"bind", MS_BIND, 0, 0},
    {"rbind", MS_BIND | MS_REC, 0, 0},
    /* Nothing outside the container could propagate into it, nor out of it: there is no other namespace to care. */
    {"private", 0, 0, 0},
    {"rprivate", 0, 0, 0},
    {"slave", 0, 0, 0},
    {"rslave", 0, 0, 0},
    {"shared", 0, 0, 0},
    {"rshared", 0, 0, 0},
};

static const struct flag *flag_named(const char *option) {
    for (size_t i = 0; i < sizeof FLAGS / sizeof *FLAGS; i++)
        if (!strcmp(FLAGS[i].option, option))
            return &FLAGS[i];
    return NULL;
}

static bool mount_or_fail(const char *source, const char *target, const char *type, unsigned long flags,
                          const char *data, struct failure *failure) {
    if (mkdir(target, 0755) && errno != EEXIST)
        return failed(failure, "make %s", target);
    return mount(source, target, type, flags, data) == 0 || failed(failure, "mount %s on %s", type, target);
}

/* The kernel's first root cannot be pivoted away from, so everything moves onto a tmpfs first. */
bool mount_machine(struct failure *failure) {
    const unsigned long safe = MS_NOSUID | MS_NODEV | MS_NOEXEC;
    if (!mount_or_fail("tmpfs", BASE, "tmpfs", 0, "mode=755", failure) ||
        !mount_or_fail("proc", BASE "/proc", "proc", safe, NULL, failure) ||
        !mount_or_fail("sysfs", BASE "/sys", "sysfs", safe, NULL, failure) ||
        !mount_or_fail("devtmpfs", BASE "/dev", "devtmpfs", MS_NOSUID, NULL, failure) ||
        !mount_or_fail("cgroup2", BASE "/sys/fs/cgroup", "cgroup2", safe, NULL, failure))
        return false;
    if (chdir(BASE) || mount(".", "/", NULL, MS_MOVE, NULL) || chroot(".") || chdir("/"))
        return failed(failure, "move to the new root");
    if (!make_directories(STATE_DIRECTORY "/containers", 0755) || !make_directories("/etc", 0755))
        return failed(failure, "make directories");
    return true;
}

/* What may be larger than all that the machine keeps in memory stays there, where that bound holds it. */
bool mount_memory(const char *path, uint64_t bytes, struct failure *failure) {
    char options[64];
    struct statfs root;
    if (statfs("/", &root))
        return failed(failure, "look at the memory for %.200s", path);
    if (bytes >= (uint64_t)root.f_blocks * (uint64_t)root.f_bsize)
        return true;
    snprintf(options, sizeof options, "size=%llu,mode=755", (unsigned long long)bytes);
    if (!make_directories(path, 0755))
        return failed(failure, "make %.200s", path);
    return mount("tmpfs", path, "tmpfs", MS_NOSUID | MS_NODEV, options) == 0 ||
           failed(failure, "mount memory on %.200s", path);
}

/* The directory `name` in `above`, made if it is not there: with the mode of `above`, as the kubelet makes it, so that
 * whoever may write into the volume may write into its part. */
static int enter(int above, const char *name) {
    const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    int directory = openat(above, name, flags);
    if (directory >= 0 || errno != ENOENT)
        return directory;
    bool made = mkdirat(above, name, 0755) == 0;
    if (!made && errno != EEXIST)
        return -1;
    struct stat volume;
    directory = openat(above, name, flags);
    if (directory >= 0 && made && (fstat(above, &volume) || fchmod(directory, volume.st_mode & 07777))) {
        close(directory);
        return -1;
    }
    return directory;
}

static int make_part(const char *path) {
    char name[NAME_MAX + 1];
    int directory = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    while (directory >= 0 && *(path += strspn(path, "/"))) {
        size_t length = strcspn(path, "/");
        int next = -1;
        if (length < sizeof name) {
            memcpy(name, path, length);
            name[length] = 0;
            next = enter(directory, name);
        } else {
            errno = ENAMETOOLONG;
        }
        int problem = errno;
        close(directory);
        errno = problem;
        directory = next;
        path += length;
    }
    return directory;
}

/* A part of a volume that is not there yet is made, as a directory. Links are not followed: a container that shares
 * the volume may have put one there that leads out of it. */
static int open_source(const char *path) {
    struct how_to_open how = {.flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_NO_LINKS};
    int file = (int)syscall(OPENAT2, AT_FDCWD, path, &how, sizeof how);
    return file < 0 && errno == ENOENT ? make_part(path) : file;
}

/* Taken while the source can still be seen: after the change of root only the detached tree is left. */
bool bind_tree(struct mount_point *mount, struct failure *failure) {
    struct mount_attributes attributes = {0};
    unsigned flags = OPEN_TREE_CLONE | O_CLOEXEC;
    for (const char **option = mount->options; *option; option++) {
        const struct flag *flag = flag_named(*option);
        attributes.set |= flag ? flag->attribute : 0;
        flags |= flag && (flag->set & MS_REC) ? AT_RECURSIVE_ : 0;
    }
    int source = open_source(mount->source);
    mount->tree = source < 0 ? -1 : (int)syscall(SYS_open_tree, source, "", flags | AT_EMPTY_PATH);
    if (source >= 0)
        close(source);
    if (mount->tree < 0)
        return failed(failure, "mount %s: %s", mount->destination, mount->source);
    if (attributes.set && syscall(SYS_mount_setattr, mount->tree, "", AT_EMPTY_PATH | (flags & AT_RECURSIVE_),
                                  &attributes, sizeof attributes))
        return failed(failure, "mount %s: set options", mount->destination);
    return true;
}

static bool make_target(const char *path, bool directory) {
    if (directory)
        return make_directories(path, 0755);
    struct stat there;
    if (stat(path, &there) == 0)
        return true;
    if (!make_parents(path))
        return false;
    int file = open(path, O_WRONLY | O_CREAT | O_NONBLOCK | O_CLOEXEC, 0644);
    if (file >= 0)
        close(file);
    return file >= 0;
}

bool move_tree(int tree, const char *destination, struct failure *failure) {
    struct stat source;
    if (fstat(tree, &source) || !make_target(destination, S_ISDIR(source.st_mode)) ||
        syscall(SYS_move_mount, tree, "", AT_FDCWD, destination, MOVE_MOUNT_EMPTY_SOURCE))
        return failed(failure, "mount on %s", destination);
    close(tree);
    return true;
}

bool mount_inside(const struct mount_point *point, struct failure *failure) {
    char data[1024] = "";
    size_t length = 0;
    unsigned long flags = 0;
    if (point->tree >= 0)
        return move_tree(point->tree, point->destination, failure);
    for (const char **option = point->options; *option; option++) {
        const struct flag *flag = flag_named(*option);
        if (flag) {
            flags = (flags | flag->set) & ~flag->clear;
            continue;
        }
        size_t size = strlen(*option);
        if (length + size + 2 > sizeof data) {
            errno = E2BIG;
            return failed(failure, "mount %s: options", point->destination);
        }
        length += (size_t)sprintf(data + length, length ? ",%s" : "%s", *option);
    }
    if (!make_target(point->destination, true))
        return failed(failure, "make %s", point->destination);
    const char *type = strcmp(point->type, "cgroup") ? point->type : "cgroup2";
    return mount(point->source, point->destination, type, flags, data) == 0 ||
           failed(failure, "mount %s on %s", type, point->destination);
}

/* What the OCI runtime specification promises in /dev; whatever the image has there already stays. */
bool make_devices(struct failure *failure) {
    static const struct {
        const char *path;
        unsigned major, minor;
    } devices[] = {{"/dev/null", 1, 3},   {"/dev/zero", 1, 5},    {"/dev/full", 1, 7},
                   {"/dev/random", 1, 8}, {"/dev/urandom", 1, 9}, {"/dev/tty", 5, 0}};
    static const char *const links[][2] = {{"/proc/self/fd", "/dev/fd"},
                                           {"/proc/self/fd/0", "/dev/stdin"},
                                           {"/proc/self/fd/1", "/dev/stdout"},
                                           {"/proc/self/fd/2", "/dev/stderr"},
                                           {"pts/ptmx", "/dev/ptmx"}};
    mkdir("/dev", 0755);
    mode_t mask = umask(0);
    for (size_t i = 0; i < sizeof devices / sizeof *devices; i++)
        if (mknod(devices[i].path, S_IFCHR | 0666, makedev(devices[i].major, devices[i].minor)) && errno != EEXIST)
            return failed(failure, "make %s", devices[i].path);
    umask(mask);
    for (size_t i = 0; i < sizeof links / sizeof *links; i++)
        if (symlink(links[i][0], links[i][1]) && errno != EEXIST)
            return failed(failure, "make %s", links[i][1]);
    return true;
}

bool is_restriction(const struct mount_point *mount) {
    return !strcmp(mount->type, "masked") || !strcmp(mount->type, "readonly");
}

static bool is_absent(void) {
    return errno == ENOENT || errno == ENOTDIR;
}

static bool mask(const char *path, struct failure *failure) {
    struct stat there;
    if (stat(path, &there))
        return is_absent() || failed(failure, "mask %s", path);
    if (S_ISDIR(there.st_mode))
        return mount("tmpfs", path, "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) == 0 ||
               failed(failure, "mask %s", path);
    int nothing = (int)syscall(SYS_open_tree, AT_FDCWD, "/dev/null", OPEN_TREE_CLONE | O_CLOEXEC);
    /* The image's own word for it may be anything. */
    errno = EINVAL;
    if (nothing < 0 || fstat(nothing, &there) || !S_ISCHR(there.st_mode) || there.st_rdev != makedev(1, 3))
        return failed(failure, "mask %s by /dev/null", path);
    return move_tree(nothing, path, failure);
}

static bool write_protect(const char *path, struct failure *failure) {
    struct mount_attributes attributes = {.set = ATTR_READ_ONLY};
    int tree = (int)syscall(SYS_open_tree, AT_FDCWD, path, OPEN_TREE_CLONE | AT_RECURSIVE_ | O_CLOEXEC);
    if (tree < 0)
        return is_absent() || failed(failure, "write-protect %s", path);
    if (syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH | AT_RECURSIVE_, &attributes, sizeof attributes))
        return failed(failure, "write-protect %s", path);
    return move_tree(tree, path, failure);
}

bool restrict_inside(const struct mount_point *mount, struct failure *failure) {
    return !strcmp(mount->type, "masked") ? mask(mount->destination, failure)
                                          : write_protect(mount->destination, failure);
}
