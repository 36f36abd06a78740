/* A container before and after its processes: root file system, cgroup, and the list of mounts its first process makes.
 *
 *     disk slot (read-only) ─┐
 *     layer (upper, work) ───┴─ overlay = the root that the first process pivots to
 *
 * The layer is a disk; of a container whose root is read-only, a tmpfs: only the places of its mounts are made there.
 */
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define HOME STATE_DIRECTORY "/containers"
#define DEATH_ATTEMPTS 500
#define DEATH_PAUSE_MICROSECONDS 5000

static struct container *containers;

struct container *container_find(const char *id) {
    struct container *one = containers;
    while (one && strcmp(one->id, id))
        one = one->next;
    return one;
}

static const char *place(const char *id, const char *part) {
    static char path[PATH_MAX];
    snprintf(path, sizeof path, HOME "/%s%s%s", id, *part ? "/" : "", part);
    return path;
}

/* Ids become directory names. */
static bool id_is_sound(const char *id) {
    size_t length = strlen(id);
    return length > 0 && length <= 200 && id[0] != '.' && !strchr(id, '/');
}

static bool mount_lower(const char *id, const char *slot, const char *type, struct failure *failure) {
    char device[300];
    if (!disk_find(slot, device, sizeof device))
        return failed(failure, "disk %.64s", slot);
    const char *data = strcmp(type, "ext4") ? "" : "noload";
    return mount(device, place(id, "lower"), type, MS_RDONLY, data) == 0 ||
           failed(failure, "mount %s from %s", type, device);
}

/* Where upper and work are. */
static const char *writable_of(const struct container *container) {
    static char path[PATH_MAX];
    if (!*container->layer)
        return place(container->id, "writable");
    snprintf(path, sizeof path, LAYERS "/%s" LAYER_CONTAINERS "/%s", container->layer, container->id);
    return path;
}

static bool make_writable(const struct container *container, struct failure *failure) {
    const char *const parts[] = {"", "/upper", "/work"};
    char path[PATH_MAX + 8];
    if (*container->layer && !layer_mount(container->layer, failure))
        return false;
    if (!*container->layer && (!make_directories(writable_of(container), 0755) ||
                               mount("tmpfs", writable_of(container), "tmpfs", 0, "mode=755")))
        return failed(failure, "mount the writable layer");
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        snprintf(path, sizeof path, "%s%s", writable_of(container), parts[i]);
        if (mkdir(path, 0755) && (errno != EEXIST || i > 0))
            return failed(failure, "make %.200s", path);
    }
    return true;
}

static bool mount_root(const struct container *container, const char *slot, const char *type, struct failure *failure) {
    const char *const parts[] = {"lower", "root"};
    const char *id = container->id;
    char options[3 * PATH_MAX];
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (!make_directories(place(id, parts[i]), 0755))
            return failed(failure, "make %s", place(id, parts[i]));
    if (!mount_lower(id, slot, type, failure) || !make_writable(container, failure))
        return false;
    const char *writable = writable_of(container);
    snprintf(options, sizeof options, "lowerdir=" HOME "/%s/lower,upperdir=%s/upper,workdir=%s/work", id, writable,
             writable);
    return mount("overlay", place(id, "root"), "overlay", 0, options) == 0 || failed(failure, "mount overlay");
}

static void take_apart(const char *id) {
    const char *const parts[] = {"root", "writable", "lower"};
    cgroup_remove(id);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        umount2(place(id, parts[i]), MNT_DETACH);
    int home = open(HOME, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (home >= 0) {
        remove_tree(home, id);
        close(home);
    }
}

static void forget(struct container *container) {
    for (uint32_t i = 0; i < container->mount_count; i++)
        free(container->mounts[i].options);
    free(container->mounts);
    free(container->request);
    free(container);
}

/* The request's texts live as long as the container: it keeps a copy of the whole frame. */
static struct container *copy_of(const struct frame *frame, struct reader *reader) {
    struct container *container = calloc(1, sizeof *container);
    if (!container || !(container->request = malloc(frame->length + 1))) {
        free(container);
        return NULL;
    }
    memcpy(container->request, frame->payload, frame->length);
    *reader = (struct reader){.at = container->request, .end = container->request + frame->length};
    return container;
}

static void read_mounts(struct container *container, struct reader *reader) {
    uint32_t count = read_count(reader, 19);
    container->mounts = calloc((size_t)count + 1, sizeof *container->mounts);
    if (!container->mounts)
        reader->bad = true;
    while (!reader->bad && container->mount_count < count) {
        struct mount_point *mount = &container->mounts[container->mount_count++];
        uint32_t options;
        mount->tree = -1;
        mount->destination = read_text(reader);
        mount->type = read_text(reader);
        mount->source = read_text(reader);
        mount->options = read_texts(reader, &options);
    }
}

bool container_add(const struct frame *frame, struct failure *failure) {
    struct reader reader;
    struct container *container = copy_of(frame, &reader);
    errno = ENOMEM;
    if (!container)
        return failed(failure, "add a container");
    container->id = (char *)read_text(&reader);
    const char *slot = read_text(&reader);
    const char *type = read_text(&reader);
    container->layer = read_text(&reader);
    container->read_only = read_u8(&reader);
    struct limits limits = {.memory_bytes = read_u64(&reader)};
    limits.cpu_quota_microseconds = read_u64(&reader);
    limits.pids = read_u64(&reader);
    container->has_quota = limits.cpu_quota_microseconds > 0;
    container->filter = read_bytes(&reader, &container->filter_length);
    container->filter_flags = read_u32(&reader);
    read_mounts(container, &reader);
    bool sound = read_whole(&reader) && id_is_sound(container->id) && (!*container->layer || id_is_sound(container->layer));
    errno = sound ? EEXIST : EBADMSG;
    if (!sound || container_find(container->id)) {
        failed(failure, "add container %.80s", sound ? container->id : "");
        forget(container);
        return false;
    }
    if (!mount_root(container, slot, type, failure) || !cgroup_make(container->id, &limits, failure)) {
        take_apart(container->id);
        forget(container);
        return false;
    }
    container->next = containers;
    containers = container;
    return true;
}

bool container_remove(const char *id, struct failure *failure) {
    struct container **link = &containers;
    while (*link && strcmp((*link)->id, id))
        link = &(*link)->next;
    struct container *container = *link;
    if (!container)
        return true;
    cgroup_signal(id, 9);
    /* A process leaves its group a moment before we can be told of its end, and points to its container until then. */
    bool is_left = true;
    for (int attempt = 0; attempt < DEATH_ATTEMPTS && is_left; attempt++) {
        process_reap();
        is_left = !cgroup_is_empty(id) || process_is_left(container);
        if (is_left)
            usleep(DEATH_PAUSE_MICROSECONDS);
    }
    errno = EBUSY;
    if (is_left)
        return failed(failure, "remove container %.80s: its processes do not end", id);
    take_apart(id);
    *link = container->next;
    forget(container);
    return true;
}

/* Called by the first process, in namespaces of its own. Afterwards nothing of the machine's own files can be seen. */
bool container_enter_root(struct container *container, struct failure *failure) {
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
        return failed(failure, "make mounts private");
    for (uint32_t i = 0; i < container->mount_count; i++)
        if (!strcmp(container->mounts[i].type, "bind") && !bind_tree(&container->mounts[i], failure))
            return false;
    /* The old root ends up below the new one and is let go; see pivot_root(2), "pivot_root(".", ".")". */
    if (chdir(place(container->id, "root")) || syscall(SYS_pivot_root, ".", ".") || umount2(".", MNT_DETACH) ||
        chdir("/"))
        return failed(failure, "change to the container's root");
    for (uint32_t i = 0; i < container->mount_count; i++)
        if (!is_restriction(&container->mounts[i]) && !mount_inside(&container->mounts[i], failure))
            return false;
    if (!make_devices(failure))
        return false;
    for (uint32_t i = 0; i < container->mount_count; i++)
        if (is_restriction(&container->mounts[i]) && !restrict_inside(&container->mounts[i], failure))
            return false;
    if (container->read_only && mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL))
        return failed(failure, "make the root read-only");
    return true;
}
