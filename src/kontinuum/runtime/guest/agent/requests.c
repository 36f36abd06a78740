/* Which request is whose. Everything that is asked is answered, with OK or with the reason why not. */
#include "agent.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>

#define PROCESSES_LIMIT 16384
#define FILE_LIMIT (64u << 10)

static void malformed(uint32_t id) {
    struct failure failure;
    errno = EBADMSG;
    failed(&failure, "read the request");
    reply_refused(id, &failure);
}

static void answer(uint32_t id, bool done, const struct failure *failure) {
    if (done)
        reply_ok(id, NULL, 0);
    else
        reply_refused(id, failure);
}

/* Answers: protocol version, total memory in bytes, kernel release. They are looked up once, which a template has done. */
static void hello(const struct frame *frame) {
    static uint8_t payload[128];
    static size_t size;
    if (size == 0) {
        struct utsname name;
        struct sysinfo memory;
        uname(&name);
        sysinfo(&memory);
        size_t length = strlen(name.release) + 1;
        write_u32(payload, PROTOCOL_VERSION);
        write_u64(payload + 4, (uint64_t)memory.totalram * memory.mem_unit);
        write_u32(payload + 12, (uint32_t)length);
        memcpy(payload + 16, name.release, length);
        size = 16 + length;
    }
    port_greet();
    reply_ok(frame->id, payload, size);
}

static void on_identify(const struct frame *frame, struct reader *reader) {
    struct failure failure;
    bool done = identify(reader, &failure);
    if (done && !read_whole(reader))
        malformed(frame->id);
    else
        answer(frame->id, done, &failure);
}

/* The host has rehearsed a pod. What the next IDENTIFY does not write over anyhow is taken back here: the network. */
static void on_forget(const struct frame *frame, struct reader *reader) {
    struct failure failure;
    if (!read_whole(reader))
        malformed(frame->id);
    else
        answer(frame->id, leave_network(&failure), &failure);
}

static void on_remove(const struct frame *frame, struct reader *reader) {
    struct failure failure;
    const char *id = read_text(reader), *layer = read_text(reader);
    bool keep_layer = read_u8(reader);
    if (!read_whole(reader)) {
        malformed(frame->id);
        return;
    }
    bool done = container_remove(id, &failure);
    /* Also of a container that never came to be: nobody else knows what was mounted for it. */
    if (done && *layer)
        done = keep_layer ? layer_remove(layer, id, &failure) : layer_unmount(layer, &failure);
    answer(frame->id, done, &failure);
}

static void on_update(const struct frame *frame, struct reader *reader) {
    struct failure failure;
    const char *id = read_text(reader);
    struct limits limits = {.memory_bytes = read_u64(reader)};
    limits.cpu_quota_microseconds = read_u64(reader);
    limits.pids = read_u64(reader);
    if (!read_whole(reader)) {
        malformed(frame->id);
        return;
    }
    struct container *container = container_find(id);
    errno = ENOENT;
    bool done = container ? cgroup_limit(id, &limits, &failure) : failed(&failure, "container %.80s", id);
    if (done)
        container->has_quota = limits.cpu_quota_microseconds > 0;
    answer(frame->id, done, &failure);
}

static void on_start(const struct frame *frame) {
    struct failure failure;
    uint8_t payload[4];
    pid_t pid;
    if (!process_start(frame, &pid, &failure)) {
        reply_refused(frame->id, &failure);
        return;
    }
    write_u32(payload, (uint32_t)pid);
    reply_ok(frame->id, payload, sizeof payload);
    /* A program that ended at once must not be told of before it was told that it started. */
    process_reap();
}

static void on_signal(const struct frame *frame, struct reader *reader) {
    struct failure failure;
    uint32_t handle = read_u32(reader), number = read_u32(reader);
    bool whole = read_u8(reader);
    if (!read_whole(reader))
        malformed(frame->id);
    else
        answer(frame->id, process_signal(handle, (int)number, whole, &failure), &failure);
}

static void on_resize(const struct frame *frame, struct reader *reader) {
    struct failure failure;
    uint32_t handle = read_u32(reader), rows = read_u32(reader), columns = read_u32(reader);
    if (!read_whole(reader))
        malformed(frame->id);
    else
        answer(frame->id, process_resize(handle, rows, columns, &failure), &failure);
}

static void on_stats(const struct frame *frame, struct reader *reader) {
    struct failure failure;
    uint8_t payload[40];
    const char *id = read_text(reader);
    errno = ENOENT;
    if (!read_whole(reader) || !container_find(id)) {
        failed(&failure, "container %.80s", id);
        reply_refused(frame->id, &failure);
        return;
    }
    write_u64(payload, cgroup_value(id, "cpu.stat", "usage_usec") * 1000);
    write_u64(payload + 8, cgroup_value(id, "memory.current", ""));
    write_u64(payload + 16, cgroup_value(id, "memory.stat", "inactive_file"));
    write_u64(payload + 24, cgroup_value(id, "memory.max", ""));
    write_u64(payload + 32, cgroup_value(id, "pids.current", ""));
    reply_ok(frame->id, payload, sizeof payload);
}

static void on_processes(const struct frame *frame, struct reader *reader) {
    static char listing[PROCESSES_LIMIT * 4];
    static uint8_t payload[4 + PROCESSES_LIMIT * 4];
    struct failure failure;
    uint32_t count = 0;
    const char *id = read_text(reader);
    errno = ENOENT;
    if (!read_whole(reader) || !container_find(id) || cgroup_processes(id, listing, sizeof listing) < 0) {
        failed(&failure, "container %.80s", id);
        reply_refused(frame->id, &failure);
        return;
    }
    char *rest = listing, *word;
    while ((word = strsep(&rest, "\n")) && count < PROCESSES_LIMIT)
        if (*word)
            write_u32(payload + 4 + 4 * count++, (uint32_t)strtoul(word, NULL, 10));
    write_u32(payload, count);
    reply_ok(frame->id, payload, 4 + 4 * (size_t)count);
}

/* What a container left in a file of its own for the host. A longer file is refused: half of one would pass for all. */
static void on_read_file(const struct frame *frame, struct reader *reader) {
    static char content[FILE_LIMIT + 2]; /* one byte more than may be, to see that there is more; and the zero */
    struct failure failure;
    const char *path = read_text(reader);
    if (!read_whole(reader)) {
        malformed(frame->id);
        return;
    }
    ssize_t length = read_foreign_file(path, content, sizeof content);
    if (length > (ssize_t)FILE_LIMIT) {
        errno = EFBIG;
        length = -1;
    }
    if (length >= 0) {
        reply_ok(frame->id, (const uint8_t *)content, (size_t)length);
    } else {
        failed(&failure, "read %.200s", path);
        reply_refused(frame->id, &failure);
    }
}

static void on_mount_memory(const struct frame *frame, struct reader *reader) {
    struct failure failure;
    const char *path = read_text(reader);
    uint64_t bytes = read_u64(reader);
    if (!read_whole(reader))
        malformed(frame->id);
    else
        answer(frame->id, mount_memory(path, bytes, &failure), &failure);
}

static void on_mount_disk(const struct frame *frame, struct reader *reader) {
    struct failure failure;
    struct volume_disk disk = {.slot = read_text(reader)};
    disk.type = read_text(reader);
    disk.path = read_text(reader);
    disk.has_group = read_u8(reader);
    disk.group = read_u32(reader);
    if (!read_whole(reader))
        malformed(frame->id);
    else
        answer(frame->id, disk_mount(&disk, &failure), &failure);
}

static void on_unmount(const struct frame *frame, struct reader *reader) {
    struct failure failure;
    const char *path = read_text(reader);
    if (!read_whole(reader))
        malformed(frame->id);
    else
        answer(frame->id, volume_unmount(path, &failure), &failure);
}

/* Answers what the clock said. It is set if the host says what it should say. */
static void on_clock(const struct frame *frame, struct reader *reader) {
    struct failure failure;
    uint8_t said[8];
    uint64_t wanted = read_u64(reader);
    if (!read_whole(reader)) {
        malformed(frame->id);
        return;
    }
    write_u64(said, clock_read());
    if (wanted && !clock_set(wanted, &failure))
        reply_refused(frame->id, &failure);
    else
        reply_ok(frame->id, said, sizeof said);
}

void handle_frame(void *context, const struct frame *frame) {
    struct failure failure;
    struct reader reader = reader_of(frame);
    (void)context;
    switch (frame->kind) {
    case KIND_HELLO: hello(frame); break;
    case KIND_IDENTIFY: on_identify(frame, &reader); break;
    case KIND_FORGET: on_forget(frame, &reader); break;
    case KIND_ADD_CONTAINER: answer(frame->id, container_add(frame, &failure), &failure); break;
    case KIND_REMOVE_CONTAINER: on_remove(frame, &reader); break;
    case KIND_UPDATE_CONTAINER: on_update(frame, &reader); break;
    case KIND_START_PROCESS: on_start(frame); break;
    case KIND_SIGNAL: on_signal(frame, &reader); break;
    case KIND_RESIZE: on_resize(frame, &reader); break;
    case KIND_CLOCK: on_clock(frame, &reader); break;
    case KIND_STATS: on_stats(frame, &reader); break;
    case KIND_PROCESSES: on_processes(frame, &reader); break;
    case KIND_READ_FILE: on_read_file(frame, &reader); break;
    case KIND_MOUNT_MEMORY: on_mount_memory(frame, &reader); break;
    case KIND_MOUNT_DISK: on_mount_disk(frame, &reader); break;
    case KIND_UNMOUNT: on_unmount(frame, &reader); break;
    case KIND_WRITE_TREE:
        if (!tree_begin(frame, &failure))
            reply_refused(frame->id, &failure);
        break;
    case KIND_DIAL:
        if (!dial(frame, &failure))
            reply_refused(frame->id, &failure);
        break;
    case KIND_DATA: stream_data(frame) ? true : tree_data(frame); break;
    case KIND_CREDIT: stream_credit(frame); break;
    case KIND_END: tree_end(frame) ? (void)0 : stream_end(frame); break;
    default: malformed(frame->id);
    }
}
