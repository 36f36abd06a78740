/* kontinuum-jail: confine ourselves for good, then become the program.
 *
 *     kontinuum-jail USER ROOT PARENT [KIND SOURCE TARGET]... -- PROGRAM ARGUMENTS...
 *
 * USER    number of the user and group that the program runs as; nobody else's.
 * ROOT    a directory, any; the program's root is mounted on it, where nobody else sees it.
 * PARENT  descriptor (a pidfd) of who started us: when that process ends, the program is killed.
 * KIND    read    SOURCE, a file or directory, is seen at TARGET; neither written nor executed
 *         run     the same, and may be executed
 *         write   the same as read, but may be written
 *         device  a device node like SOURCE, the program's own
 *         own     an empty directory at TARGET that the program may make a few names in, such as sockets'; SOURCE is -
 *         blank   a file of SOURCE zeros at TARGET, the program's own to write to; one of that length for all targets
 *         network SOURCE, a descriptor: the network namespace that the program is in, and not an empty one; TARGET is -
 *         link    a symbolic link at TARGET that says SOURCE
 *         set     SOURCE=TARGET in the environment, which is empty otherwise
 *
 * Whoever starts us sees to it that we are the first process of a process namespace, and that we inherit no descriptor
 * that the program must not have: a process cannot move itself into the former, and the latter it cannot know. What
 * goes wrong is said on standard error, with exit status 125; nothing is ever executed half confined.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define VARIABLES 8

static void die(const char *doing, const char *about) {
    fprintf(stderr, "kontinuum-jail: %s %s: %s\n", doing, about, strerror(errno));
    exit(125);
}

static unsigned long long_number(const char *word) {
    char *end;
    errno = 0;
    unsigned long value = strtoul(word, &end, 10);
    if (errno || !*word || *end) {
        errno = EINVAL;
        die("read the number", word);
    }
    return value;
}

static unsigned long number(const char *word) {
    unsigned long value = long_number(word);
    if (value > 0xfffffffe) {
        errno = EINVAL;
        die("read the number", word);
    }
    return value;
}

/* Below the new root, which is the working directory until it becomes the root. */
static const char *inside(const char *target) {
    static char path[4096];
    if (snprintf(path, sizeof path, ".%s", target) >= (int)sizeof path || *target != '/') {
        errno = EINVAL;
        die("use the target", target);
    }
    return path;
}

static void make_parents(const char *target) {
    char path[4096];
    snprintf(path, sizeof path, "%s", inside(target));
    for (char *slash = strchr(path + 2, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        if (mkdir(path, 0755) && errno != EEXIST)
            die("make", path);
        *slash = '/';
    }
}

static void bind(const char *source, const char *target, unsigned long flags) {
    struct stat there;
    const char *path = inside(target);
    if (stat(source, &there))
        die("find", source);
    if (S_ISDIR(there.st_mode) ? mkdir(path, 0755) : mknod(path, S_IFREG | 0644, 0))
        die("make", target);
    if (mount(source, path, NULL, MS_BIND, NULL))
        die("bind", source);
    if (mount(NULL, path, NULL, MS_REMOUNT | MS_BIND | MS_NOSUID | MS_NODEV | flags, NULL))
        die("restrict", target);
}

static void make_device(const char *source, const char *target, uid_t user) {
    struct stat like;
    const char *path = inside(target);
    if (stat(source, &like))
        die("find", source);
    if (mknod(path, (like.st_mode & S_IFMT) | 0600, like.st_rdev) || chown(path, user, user))
        die("make", target);
}

/* Nothing of the host's fills up, whatever the program writes there. */
static void make_own(const char *target, uid_t user) {
    const char *path = inside(target);
    if (mkdir(path, 0755) || mount("tmpfs", path, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "size=64k,nr_inodes=16"))
        die("make", target);
    if (chown(path, user, user) || chmod(path, 0700))
        die("give away", target);
}

static void make_blank(const char *size, const char *target, uid_t user) {
    char path[64];
    if (mkdir("./blank", 0755) == 0 &&
        mount("tmpfs", "./blank", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "size=64k,nr_inodes=16,mode=755"))
        die("make", "a place for blanks");
    snprintf(path, sizeof path, "./blank/%lu", long_number(size));
    int file = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    if (file < 0 || ftruncate(file, (off_t)long_number(size)) || fchown(file, user, user) || close(file))
        die("make a blank for", target);
    bind(path, target, MS_NOEXEC);
}

static void enter_network(const char *word) {
    int namespace = (int)number(word);
    if (setns(namespace, CLONE_NEWNET))
        die("enter the network", word);
    close(namespace);
}

static void show(const char *kind, const char *source, const char *target, uid_t user) {
    if (!strcmp(kind, "network")) {
        enter_network(source);
        return;
    }
    make_parents(target);
    if (!strcmp(kind, "read"))
        bind(source, target, MS_RDONLY | MS_NOEXEC);
    else if (!strcmp(kind, "run"))
        bind(source, target, MS_RDONLY);
    else if (!strcmp(kind, "write"))
        bind(source, target, MS_NOEXEC);
    else if (!strcmp(kind, "own"))
        make_own(target, user);
    else if (!strcmp(kind, "blank"))
        make_blank(source, target, user);
    else if (!strcmp(kind, "device"))
        make_device(source, target, user);
    else if (strcmp(kind, "link") || symlink(source, inside(target)))
        die("show", target);
}

static void leave_namespaces(void) {
    if (unshare(CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWNET | CLONE_NEWUTS | CLONE_NEWCGROUP))
        die("make", "namespaces");
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
        die("keep to ourselves", "our mounts");
    if (sethostname("vmm", 3))
        die("set", "the host name");
}

/* A small tmpfs of nothing but the names of what is shown, and read-only once they are made. */
static void begin_root(const char *root) {
    if (mount("tmpfs", root, "tmpfs", MS_NOSUID | MS_NOEXEC, "size=64k,nr_inodes=256,mode=755") || chdir(root))
        die("mount a root on", root);
}

static void enter_root(void) {
    if (syscall(SYS_pivot_root, ".", ".") || umount2(".", MNT_DETACH) || chdir("/"))
        die("enter", "the new root");
    if (mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NOEXEC, NULL))
        die("restrict", "the new root");
}

static void limit(int resource, rlim_t most, const char *name) {
    struct rlimit both;
    if (getrlimit(resource, &both))
        die("look up", name);
    both.rlim_max = both.rlim_max < most ? both.rlim_max : most;
    both.rlim_cur = both.rlim_max;
    if (setrlimit(resource, &both))
        die("limit", name);
}

static void limit_resources(void) {
    /* A core would put the guest's memory, and so its tenant's secrets, on the host's disk. */
    limit(RLIMIT_CORE, 0, "cores");
    /* Processors, block layer, translation and timers are threads; forking is for nobody. */
    limit(RLIMIT_NPROC, 256, "threads");
    /* Sockets, tap, and two descriptors for each disk. */
    limit(RLIMIT_NOFILE, 256, "open files");
    limit(RLIMIT_MEMLOCK, 0, "locked memory");
}

static void give_up_rights(uid_t user) {
    /* Up to the last one that this kernel knows, which says "invalid" to the next. */
    for (unsigned long capability = 0; prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0; capability++) {
    }
    if (errno != EINVAL)
        die("drop", "capabilities");
    if (setgroups(0, NULL) || setresgid(user, user, user) || setresuid(user, user, user))
        die("become", "the pod's user");
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        die("give up", "new privileges");
}

/* Changing the user clears the parent-death signal, so this comes last; and who died before is noticed by hand. */
static void die_with(int parent) {
    struct pollfd ended = {.fd = parent, .events = POLLIN};
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0))
        die("be told of", "our parent's end");
    if (poll(&ended, 1, 0) != 0)
        exit(125);
    close(parent);
}

int main(int count, char **words) {
    static char variables[VARIABLES][512], *environment[VARIABLES + 1];
    int at = 4, used = 0;
    if (count < 6) {
        errno = EINVAL;
        die("start", "with so few words");
    }
    uid_t user = (uid_t)number(words[1]);
    int parent = (int)number(words[3]);
    leave_namespaces();
    begin_root(words[2]);
    for (; at + 2 < count && strcmp(words[at], "--"); at += 3) {
        if (strcmp(words[at], "set")) {
            show(words[at], words[at + 1], words[at + 2], user);
        } else if (used < VARIABLES) {
            snprintf(variables[used], sizeof *variables, "%s=%s", words[at + 1], words[at + 2]);
            environment[used] = variables[used];
            used++;
        }
    }
    errno = EINVAL;
    if (user == 0 || at + 1 >= count || strcmp(words[at], "--"))
        die("understand", "the words");
    enter_root();
    limit_resources();
    give_up_rights(user);
    die_with(parent);
    execve(words[at + 1], words + at + 1, environment);
    die("execute", words[at + 1]);
}
