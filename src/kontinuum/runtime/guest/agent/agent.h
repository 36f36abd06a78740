/* The agent: first process of a machine, the only one in it that speaks with the host.
 *
 * One thread, one epoll loop. Whatever a request asks for is done before the next one is looked at; only processes,
 * their streams and trees that are still arriving live longer than a request.
 */
#ifndef AGENT_H
#define AGENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "frames.h"

#define STATE_DIRECTORY "/run/kontinuum"
#define MOST_FILES 524288

/* Why a request could not be done. The text is for people and names the step. */
struct failure {
    int number; /* errno */
    char text[400];
};

/* Records the step that failed and errno; answers false, so that it can be returned. */
bool failed(struct failure *failure, const char *format, ...) __attribute__((format(printf, 2, 3)));
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* main.c: the loop */
struct source {
    int descriptor;
    uint32_t events; /* 0: not watched */
    void (*ready)(struct source *source);
};
void watch(struct source *source, uint32_t events);

/* linux/openat2.h, which the static C library does not bring along */
#define OPENAT2 437
struct how_to_open {
    uint64_t flags, mode, resolve;
};

/* files.c */
bool write_file(const char *path, const char *text);
char *map_file(const char *path, size_t size); /* a new one, of zeros; what is written there is in the file. NULL: errno */
ssize_t read_file(const char *path, char *buffer, size_t size); /* always ends with a zero; -1 on error */
/* The same of what somebody else has made: only of a regular file, without waiting for anybody, and not by a link of the
 * kernel's to what a process has open. */
ssize_t read_foreign_file(const char *path, char *buffer, size_t size);
bool make_directories(const char *path, mode_t mode); /* mkdir -p */
bool make_parents(const char *path);
bool remove_tree(int directory, const char *name);

/* port.c: the host's end */
bool port_is_vsock(unsigned *number);
bool port_open(void);
uint8_t *port_room(uint8_t kind, uint8_t stream, uint32_t id, size_t length); /* where to put the payload */
void port_send(size_t length);                                                /* what `port_room` gave is filled */
bool port_is_full(void);
void port_greet(void); /* somebody new is there: what waits to be sent was for somebody else */
void reply_ok(uint32_t id, const void *payload, size_t length);
void reply_refused(uint32_t id, const struct failure *failure);

/* requests.c */
void handle_frame(void *context, const struct frame *frame);

/* identity.c, network.c, modules.c */
void take_modules(const char *order, bool wanted); /* a list in /modules; what is not wanted is only removed */
bool identity_prepare(struct failure *failure);
bool identify(struct reader *request, struct failure *failure);
/* The wall clock, in nanoseconds since the epoch. */
bool clock_set(uint64_t nanoseconds, struct failure *failure);
uint64_t clock_read(void);
bool network_prepare(struct failure *failure);
bool configure_network(struct reader *request, struct failure *failure);
bool leave_network(struct failure *failure);

/* mounts.c */
struct mount_point {
    const char *destination, *type, *source;
    const char **options;
    int tree; /* a bind mount's detached tree */
};
bool mount_machine(struct failure *failure);
bool mount_memory(const char *path, uint64_t bytes, struct failure *failure); /* for a volume that holds no more */
bool bind_tree(struct mount_point *mount, struct failure *failure);
bool mount_inside(const struct mount_point *mount, struct failure *failure);
bool make_devices(struct failure *failure);
/* Two types of mount that only say of a path what is to become of it: "masked" (nothing is seen there) and "readonly".
 * They are done last; what is not there is let be. */
bool is_restriction(const struct mount_point *mount);
bool restrict_inside(const struct mount_point *mount, struct failure *failure);
bool move_tree(int tree, const char *destination, struct failure *failure);

/* disks.c */
struct volume_disk {
    const char *slot, *type, *path; /* without a type: the device itself, at the path */
    bool has_group;
    gid_t group; /* whom the root directory is given to */
};
/* A slot is a virtio disk's serial number; `scsiN` for the target of that number; or `NAME@SIZE`, the kernel's name for a
 * disk and how many bytes it has once the kernel has noticed what is in it now. EAGAIN: not noticed yet. */
void disks_prepare(void);
bool disk_find(const char *slot, char *path, size_t size);
bool disk_mount(const struct volume_disk *disk, struct failure *failure);
bool volume_unmount(const char *path, struct failure *failure);
/* A layer: a disk with an ext4 file system, in which a container's directories of what it writes lie below its name. A
 * machine that becomes a template has the first of them mounted already. */
#define LAYERS STATE_DIRECTORY "/layers"
#define LAYER_CONTAINERS "/containers" /* in each of them */
void layers_prepare(void);
bool layer_mount(const char *slot, struct failure *failure); /* if it is not mounted yet */
bool layer_remove(const char *slot, const char *container, struct failure *failure); /* should be little */
bool layer_unmount(const char *slot, struct failure *failure);

/* cgroup.c */
struct limits {
    uint64_t memory_bytes, cpu_quota_microseconds, pids;
};
bool cgroup_prepare(struct failure *failure);
bool cgroup_make(const char *id, const struct limits *limits, struct failure *failure);
bool cgroup_limit(const char *id, const struct limits *limits, struct failure *failure);
int cgroup_open(const char *id); /* -1: errno */
bool cgroup_signal(const char *id, int number);
bool cgroup_is_empty(const char *id);
void cgroup_remove(const char *id);
uint64_t cgroup_oom_kills(const char *id);
uint64_t cgroup_value(const char *id, const char *file, const char *key);
ssize_t cgroup_processes(const char *id, char *buffer, size_t size);

/* container.c */
struct container {
    struct container *next;
    char *id;
    uint8_t *request; /* the frame it was made from; its texts are used in place */
    struct mount_point *mounts;
    uint32_t mount_count;
    const char *layer; /* the slot of the disk that it writes to; "": memory */
    bool read_only, has_quota; /* of CPU */
    const uint8_t *filter; /* struct sock_filter, one behind the other; see runtime/seccomp.py */
    uint32_t filter_length, filter_flags;
    pid_t first; /* 0: not started, or ended */
    bool started;
    uint64_t oom_kills;
};
struct container *container_find(const char *id);
bool container_add(const struct frame *frame, struct failure *failure);
bool container_remove(const char *id, struct failure *failure);
bool container_enter_root(struct container *container, struct failure *failure);

/* process.c */
bool process_prepare(struct failure *failure);
bool process_start(const struct frame *frame, pid_t *pid, struct failure *failure);
bool process_signal(uint32_t handle, int number, bool whole, struct failure *failure);
bool process_resize(uint32_t handle, uint32_t rows, uint32_t columns, struct failure *failure);
void process_reap(void);
bool process_is_left(const struct container *container); /* one that has not been told of */

/* streams.c */
enum { INPUT, OUTPUT, ERROR, STREAMS };
struct stream {
    struct source source; /* first: the loop's pointer is ours too */
    struct stream *next;
    uint32_t handle; /* of the request that began it */
    uint8_t number;  /* INPUT comes from the host, the others go to it */
    bool is_terminal, is_socket;
    uint32_t credit; /* output: what the host still has room for */
    uint8_t *pending;
    size_t pending_length;      /* input: what has not been taken yet */
    bool ending;                /* input: close it when nothing is pending */
    void (*over)(void *owner); /* it ended by itself, or by the host's wish */
    void *owner;
};
/* Everything but the source is filled in. From then on the descriptor is the stream's; -1 is one that is closed. */
void stream_open(struct stream *stream, int descriptor);
bool stream_is_open(const struct stream *stream);
void stream_close(struct stream *stream);
void streams_port_drained(void);
bool stream_data(const struct frame *frame); /* false: no such stream */
void stream_credit(const struct frame *frame);
void stream_end(const struct frame *frame);

/* dial.c: answers when it is connected, or cannot be */
bool dial(const struct frame *frame, struct failure *failure);

/* spawn.c */
struct limit {
    uint32_t resource;
    uint64_t soft, hard;
};
struct launch {
    struct container *container;
    const char **arguments, **environment;
    const char *directory;
    uint32_t user, group;
    gid_t *groups;
    uint32_t group_count;
    uint64_t capabilities;
    bool no_new_privileges, terminal;
    uint32_t rows, columns;
    struct limit *limits;
    uint32_t limit_count;
    int input, output, error; /* not used with a terminal */
};
bool spawn_prepare(struct failure *failure);
/* The process number, and with a terminal its master in *terminal. -1 on failure. */
pid_t spawn(const struct launch *launch, int *terminal, struct failure *failure);

/* tree.c */
bool tree_begin(const struct frame *frame, struct failure *failure);
bool tree_data(const struct frame *frame); /* false: no such tree */
bool tree_end(const struct frame *frame);

#endif
