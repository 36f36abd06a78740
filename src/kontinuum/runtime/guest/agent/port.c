/* The line to the host: a virtio-serial port, or what calls a vsock port that we listen on, as `kontinuum_agent=vsock:PORT`
 * on the kernel's command line says (the kernel passes on what it does not know itself). What cannot be sent yet waits in
 * a queue; while the queue is long, processes' output is left in their pipes and requests in the port, so that the
 * agent's memory is bounded whatever the host does. */
#include "agent.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define PORT_NAME "agent"
#define QUEUE_SOFT_LIMIT (256u << 10)
#define OPEN_ATTEMPTS 4000
#define OPEN_PAUSE_MICROSECONDS 2500

/* linux/vm_sockets.h, which the static C library does not bring along */
#define ANY_CID 0xffffffffu
#ifndef HOST_CID
#define HOST_CID 2u /* the test suite, which has no vsock from outside, says that the host is on this side */
#endif
struct vsock_address {
    sa_family_t family;
    uint16_t zero;
    uint32_t port, cid;
    uint8_t flags, padding[3];
};

static struct source port = {.descriptor = -1}; /* -1: nobody has called yet */
static struct source calls = {.descriptor = -1}; /* -1: the port is a device, always there */
/* A host has said HELLO and the answer is still in the queue. */
static bool greeting;
/* Who called is gone, as a write has told; the line is cleared when no frame is in the middle of being handled. */
static bool cut_off;
static uint8_t inbox[FRAME_HEADER + REQUEST_LIMIT];
static struct parser parser = {.buffer = inbox};
static uint8_t *queue;
static size_t queue_capacity, queue_start, queue_end;

static size_t queued(void) {
    return queue_end - queue_start;
}

bool port_is_full(void) {
    return queued() >= QUEUE_SOFT_LIMIT;
}

static void flush_queue(void) {
    while (queued() > 0) {
        ssize_t sent = write(port.descriptor, queue + queue_start, queued());
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent <= 0) {
            cut_off = calls.descriptor >= 0 && errno != EAGAIN;
            return;
        }
        queue_start += (size_t)sent;
    }
    queue_start = queue_end = 0;
    greeting = false;
}

void port_greet(void) {
    queue_start = queue_end = 0;
    greeting = true;
}

uint8_t *port_room(uint8_t kind, uint8_t stream, uint32_t id, size_t length) {
    size_t needed = FRAME_HEADER + length;
    if (queue_start > 0 && queue_end + needed > queue_capacity) {
        memmove(queue, queue + queue_start, queued());
        queue_end = queued();
        queue_start = 0;
    }
    if (queue_end + needed > queue_capacity) {
        size_t capacity = queue_end + needed + DATA_LIMIT;
        uint8_t *larger = realloc(queue, capacity);
        if (!larger)
            abort(); /* the first process: the machine ends, and the host sees why on the console */
        queue = larger;
        queue_capacity = capacity;
    }
    uint8_t *header = queue + queue_end;
    memset(header, 0, FRAME_HEADER);
    header[4] = kind;
    header[5] = stream;
    write_u32(header + 8, id);
    return header + FRAME_HEADER;
}

void port_send(size_t length) {
    if (port.descriptor < 0 || cut_off)
        return;
    write_u32(queue + queue_end, (uint32_t)length);
    queue_end += FRAME_HEADER + length;
    flush_queue();
}

void reply_ok(uint32_t id, const void *payload, size_t length) {
    uint8_t *room = port_room(KIND_OK, 0, id, length);
    if (length > 0)
        memcpy(room, payload, length);
    port_send(length);
}

void reply_refused(uint32_t id, const struct failure *failure) {
    size_t length = strlen(failure->text);
    uint8_t *room = port_room(KIND_REFUSED, 0, id, 8 + length + 1);
    write_u32(room, (uint32_t)failure->number);
    write_u32(room + 4, (uint32_t)length + 1);
    memcpy(room + 8, failure->text, length + 1);
    port_send(8 + length + 1);
}

/* Whoever comes next starts with a clean line. */
static void clear_line(void) {
    parser_reset(&parser);
    queue_start = queue_end = 0;
}

static void hang_up(void) {
    if (port.descriptor < 0)
        return;
    watch(&port, 0);
    close(port.descriptor);
    port.descriptor = -1;
    cut_off = false;
    clear_line();
    streams_port_drained();
}

static void port_ready(struct source *source) {
    static uint8_t bytes[32 << 10];
    bool was_full = port_is_full();
    flush_queue();
    while (!cut_off && !port_is_full()) {
        ssize_t got = read(source->descriptor, bytes, sizeof bytes);
        if (got < 0 && errno == EINTR)
            continue;
        cut_off = calls.descriptor >= 0 && (got == 0 || (got < 0 && errno != EAGAIN));
        if (cut_off)
            break;
        /* The host's end is closed. But data, and the news that the end was opened, come by different queues: a HELLO
         * that was read from a port still said to be closed is from somebody who has opened it since, and waits for the
         * answer. */
        if (got == 0 && !greeting)
            clear_line();
        if (got <= 0)
            break;
        if (!parser_feed(&parser, bytes, (size_t)got, handle_frame, NULL))
            say("the host broke the protocol; nothing more is read until it connects again");
    }
    if (cut_off)
        hang_up();
    else if (was_full && !port_is_full())
        streams_port_drained();
}

static int open_named(const char *wanted) {
    DIR *ports = opendir("/sys/class/virtio-ports");
    struct dirent *entry;
    int opened = -1;
    while (ports && opened < 0 && (entry = readdir(ports))) {
        char path[300], name[64];
        snprintf(path, sizeof path, "/sys/class/virtio-ports/%s/name", entry->d_name);
        if (read_file(path, name, sizeof name) <= 0)
            continue;
        name[strcspn(name, "\n")] = 0;
        if (strcmp(name, wanted))
            continue;
        snprintf(path, sizeof path, "/dev/%s", entry->d_name);
        opened = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    }
    if (ports)
        closedir(ports);
    return opened;
}

/* One at a time: a host that calls again has given up the line that it had. A program in the guest that calls gets
 * nothing, whatever transport its kernel finds for it: only the host's number is the host's. */
static void take_call(struct source *source) {
    struct vsock_address caller = {0};
    socklen_t length = sizeof caller;
    int line = accept4(source->descriptor, (struct sockaddr *)&caller, &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (line < 0)
        return;
    if (caller.cid != HOST_CID) {
        close(line);
        return;
    }
    hang_up();
    port.descriptor = line;
    port.ready = port_ready;
    watch(&port, EPOLLIN | EPOLLOUT | EPOLLET);
}

static bool await_calls(unsigned number) {
    struct vsock_address here = {.family = AF_VSOCK, .port = number, .cid = ANY_CID};
    int line = socket(AF_VSOCK, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (line < 0 || bind(line, (struct sockaddr *)&here, sizeof here) || listen(line, 4)) {
        say("vsock port %u: %s", number, strerror(errno));
        return false;
    }
    calls.descriptor = line;
    calls.ready = take_call;
    watch(&calls, EPOLLIN);
    return true;
}

bool port_is_vsock(unsigned *number) {
    const char *where = getenv("kontinuum_agent");
    return where && sscanf(where, "vsock:%u", number) == 1;
}

bool port_open(void) {
    unsigned number;
    if (port_is_vsock(&number))
        return await_calls(number);
    for (int attempt = 0; attempt < OPEN_ATTEMPTS; attempt++) {
        port.descriptor = open_named(PORT_NAME);
        if (port.descriptor >= 0) {
            port.ready = port_ready;
            /* Edges, because a port without a host behind it reports a hang-up all the time. */
            watch(&port, EPOLLIN | EPOLLOUT | EPOLLET);
            return true;
        }
        usleep(OPEN_PAUSE_MICROSECONDS);
    }
    return false;
}
