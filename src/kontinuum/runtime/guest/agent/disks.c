/* Disks in the machine's slots, and those of them that are volumes: a file system that the pod's containers share. */
#define _GNU_SOURCE /* syncfs */
#include "agent.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

/* linux/fs.h and the kernel's fs/ext4/ext4.h: neither can be included beside sys/mount.h. */
#define BLOCK_SIZE_IN_BYTES _IOR(0x12, 114, size_t)
#define BLOCK_FLUSH _IO(0x12, 97)
#define EXT4_RESIZE _IOW('f', 16, uint64_t)

#define SLOTS 8

/* Disks that were there before the machine was anybody's, and say which slot they are. */
static struct slot {
    char serial[32], path[32];
} slots[SLOTS];
static size_t slot_count;

#define EXT4_SUPER_MAGIC 0xEF53

#define FIRST_LAYER "layer0"

/* Whether this is what the kernel calls the disk, by a file in /sys that says which it is. */
static bool is_slot(const char *name, const char *slot) {
    char path[300], said[256], wanted[32];
    unsigned long long size;
    int target;
    if (sscanf(slot, "%31[a-z]@%llu", wanted, &size) == 2) {
        snprintf(path, sizeof path, "/sys/block/%s/size", name);
        return !strcmp(name, wanted) && read_file(path, said, sizeof said) > 0 && strtoull(said, NULL, 10) == size / 512;
    }
    if (sscanf(slot, "scsi%d", &target) == 1) {
        char address[32];
        snprintf(path, sizeof path, "/sys/block/%s/device", name);
        ssize_t length = readlink(path, said, sizeof said - 1);
        said[length > 0 ? length : 0] = 0;
        const char *last = strrchr(said, '/');
        snprintf(address, sizeof address, "/0:0:%d:0", target);
        return last && !strcmp(last, address);
    }
    snprintf(path, sizeof path, "/sys/block/%s/serial", name);
    if (read_file(path, said, sizeof said) < 0)
        return false;
    said[strcspn(said, "\n")] = 0;
    return !strcmp(said, slot);
}

/* The host sorts what it is asked for, and decides who waits; to do it here as well only takes time. */
static void leave_order_to_host(const char *name) {
    static const char *const settings[][2] = {{"scheduler", "none"}, {"wbt_lat_usec", "0"}};
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
        char path[300];
        snprintf(path, sizeof path, "/sys/block/%s/queue/%s", name, settings[i][0]);
        if (!write_file(path, settings[i][1]))
            say("%s of %s: %s", settings[i][0], name, strerror(errno));
    }
}

void disks_prepare(void) {
    DIR *blocks = opendir("/sys/block");
    struct dirent *entry;
    while (blocks && slot_count < SLOTS && (entry = readdir(blocks))) {
        struct slot *slot = &slots[slot_count];
        char path[300];
        snprintf(path, sizeof path, "/sys/block/%s/serial", entry->d_name);
        if (read_file(path, slot->serial, sizeof slot->serial) <= 0)
            continue;
        leave_order_to_host(entry->d_name);
        slot->serial[strcspn(slot->serial, "\n")] = 0;
        if (*slot->serial && snprintf(slot->path, sizeof slot->path, "/dev/%s", entry->d_name) < (int)sizeof slot->path)
            slot_count++;
    }
    if (blocks)
        closedir(blocks);
}

bool disk_find(const char *slot, char *path, size_t size) {
    /* Of what was in it before the kernel remembers nothing: nobody has had it open since. */
    for (size_t i = 0; i < slot_count; i++)
        if (!strcmp(slots[i].serial, slot))
            return snprintf(path, size, "%s", slots[i].path) < (int)size;
    DIR *blocks = opendir("/sys/block");
    struct dirent *entry;
    bool found = false;
    while (blocks && !found && (entry = readdir(blocks)))
        if ((found = is_slot(entry->d_name, slot)))
            snprintf(path, size, "/dev/%s", entry->d_name);
    if (blocks)
        closedir(blocks);
    /* A device that has no node yet is one that is still being looked at. */
    int file = found ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) {
        errno = EAGAIN;
        return false;
    }
    /* The slot was blank when the template's kernel looked at it; forget what it saw. */
    ioctl(file, BLOCK_FLUSH, 0);
    close(file);
    return true;
}

static uint64_t size_of(const char *device) {
    uint64_t size = 0;
    int file = open(device, O_RDONLY | O_CLOEXEC);
    if (file >= 0) {
        ioctl(file, BLOCK_SIZE_IN_BYTES, &size);
        close(file);
    }
    return size;
}

/* A file system that is smaller than its disk grows: its volume has been expanded since it was last used. One that has
 * seen an error (the host's disk was full) the kernel does not enlarge; what is in it is not to be lost for that. */
static bool fill_disk(int root, uint64_t size) {
    struct statfs about;
    if (fstatfs(root, &about))
        return false;
    uint64_t blocks = size / (uint64_t)about.f_bsize;
    return ioctl(root, EXT4_RESIZE, &blocks) == 0 || errno == EPERM;
}

static bool give_to_group(int root, gid_t group) {
    struct stat there;
    if (fstat(root, &there))
        return false;
    if (there.st_gid == group)
        return true;
    return fchown(root, (uid_t)-1, group) == 0 && fchmod(root, (there.st_mode & 07777) | 02070) == 0;
}

/* A disk that is a volume as it is: its device, for containers to be bound to. */
static bool show_device(const struct volume_disk *disk, const char *device, struct failure *failure) {
    struct stat there;
    if (stat(device, &there) || !make_parents(disk->path) || mknod(disk->path, S_IFBLK | 0660, there.st_rdev))
        return failed(failure, "make the device %.200s", disk->path);
    return true;
}

bool disk_mount(const struct volume_disk *disk, struct failure *failure) {
    char device[300];
    if (!disk_find(disk->slot, device, sizeof device))
        return failed(failure, "disk %.64s", disk->slot);
    if (!*disk->type)
        return show_device(disk, device, failure);
    if (!make_directories(disk->path, 0755))
        return failed(failure, "make %.200s", disk->path);
    /* What is deleted is given back to the host, whose file the disk is. */
    const char *options = strcmp(disk->type, "ext4") ? NULL : "discard";
    if (mount(device, disk->path, disk->type, MS_NODEV | MS_NOATIME, options))
        return failed(failure, "mount %.32s from %.64s", disk->type, disk->slot);
    int root = open(disk->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool done = root >= 0 && fill_disk(root, size_of(device)) && (!disk->has_group || give_to_group(root, disk->group));
    if (root >= 0)
        close(root);
    if (!done) {
        failed(failure, "prepare the file system on %.64s", disk->slot);
        umount2(disk->path, MNT_DETACH);
    }
    return done;
}

static const char *layer_path(const char *slot) {
    static char path[PATH_MAX];
    snprintf(path, sizeof path, LAYERS "/%s", slot);
    return path;
}

/* Below the root ext4 gives every directory a place of its own, far from what has been read already. */
static const char *layer_containers(const char *slot) {
    static char path[PATH_MAX];
    snprintf(path, sizeof path, LAYERS "/%s" LAYER_CONTAINERS, slot);
    return path;
}

static bool layer_is_mounted(const char *slot) {
    struct statfs about;
    return statfs(layer_path(slot), &about) == 0 && about.f_type == EXT4_SUPER_MAGIC;
}

bool layer_mount(const char *slot, struct failure *failure) {
    char device[300];
    if (layer_is_mounted(slot))
        return true;
    if (!disk_find(slot, device, sizeof device))
        return failed(failure, "disk %.64s", slot);
    if (!make_directories(layer_path(slot), 0755))
        return failed(failure, "make %.200s", layer_path(slot));
    /* What is deleted is given back to the host. Nothing is flushed: the layer ends with the machine, and what has left
     * the machine is in the host's file already. Nothing is read ahead of its use, which every clone would do. */
    const char *options = "discard,nobarrier,noinit_itable,no_prefetch_block_bitmaps";
    if (mount(device, layer_path(slot), "ext4", MS_NOATIME, options))
        return failed(failure, "mount the layer on %.64s", slot);
    return mkdir(layer_containers(slot), 0755) == 0 || errno == EEXIST ||
           failed(failure, "make a directory on %.64s", slot);
}

bool layer_remove(const char *slot, const char *container, struct failure *failure) {
    int root = open(layer_containers(slot), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool done = root >= 0 && remove_tree(root, container);
    if (!done)
        failed(failure, "empty the layer on %.64s", slot);
    if (root >= 0)
        close(root);
    return done;
}

bool layer_unmount(const char *slot, struct failure *failure) {
    return !layer_is_mounted(slot) || umount2(layer_path(slot), 0) == 0 ||
           failed(failure, "unmount the layer on %.64s", slot);
}

static bool write_once(const char *directory) {
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/file", directory);
    bool written = mkdir(directory, 0755) == 0 && write_file(path, "once\n");
    sync();
    return written;
}

void layers_prepare(void) {
    struct failure failure = {.text = "the first layer cannot be written to"};
    /* What waits to be written is little, and does not wait for long: a container with a small limit must find room in
     * its own memory, and the host is to know what is written to its disk. */
    const char *const settings[][2] = {{"dirty_bytes", "8388608"},
                                       {"dirty_background_bytes", "4194304"},
                                       {"dirty_expire_centisecs", "500"},
                                       {"dirty_writeback_centisecs", "300"},
                                       /* A thread would look twice a second whether huge pages could be made in advance. */
                                       {"compaction_proactiveness", "0"}};
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
        char path[64];
        snprintf(path, sizeof path, "/proc/sys/vm/%s", settings[i][0]);
        if (!write_file(path, settings[i][1]))
            say("%s: %s", path, strerror(errno));
    }
    /* A little is written once, so that a template has in its memory what the file system works out then for the first
     * time: where there is room. Its clones should not begin by writing what it has left there. */
    if (!layer_mount(FIRST_LAYER, &failure) || !write_once(LAYERS "/" FIRST_LAYER LAYER_CONTAINERS "/once") ||
        !layer_remove(FIRST_LAYER, "once", &failure))
        say("%s", failure.text);
    sync();
}

/* Everything that was written is on the disk before the answer, even if somebody still holds the file system. */
bool volume_unmount(const char *path, struct failure *failure) {
    struct stat there;
    int file = open(path, O_RDONLY | O_CLOEXEC);
    bool is_device = file >= 0 && fstat(file, &there) == 0 && S_ISBLK(there.st_mode);
    bool written = file >= 0 && (is_device ? fsync(file) : syncfs(file)) == 0;
    if (file >= 0)
        close(file);
    if (!written || (is_device ? unlink(path) : umount2(path, 0)))
        return failed(failure, "unmount %.200s", path);
    return true;
}
