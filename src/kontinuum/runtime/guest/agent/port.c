/* The virtio-serial port to the host. What cannot be sent yet waits in a queue; while the queue is long, processes'
 * output is left in their pipes and requests in the port, so that the agent's memory is bounded whatever the host does. */
#include "agent.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define PORT_NAME "agent"
#define QUEUE_SOFT_LIMIT (256u << 10)
#define OPEN_ATTEMPTS 4000
#define OPEN_PAUSE_MICROSECONDS 2500

static struct source port;
/* A host has said HELLO and the answer is still in the queue. */
static bool greeting;
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
        if (sent <= 0)
            return;
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

static void port_ready(struct source *source) {
    static uint8_t bytes[32 << 10];
    bool was_full = port_is_full();
    flush_queue();
    while (!port_is_full()) {
        ssize_t got = read(source->descriptor, bytes, sizeof bytes);
        if (got < 0 && errno == EINTR)
            continue;
        if (got == 0 && !greeting) {
            /* The host's end is closed. Whoever opens it next starts with a clean line. But data, and the news that the
             * end was opened, come by different queues: a HELLO that was read from a port still said to be closed is
             * from somebody who has opened it since, and waits for the answer. */
            parser_reset(&parser);
            queue_start = queue_end = 0;
        }
        if (got <= 0)
            break;
        if (!parser_feed(&parser, bytes, (size_t)got, handle_frame, NULL))
            say("the host broke the protocol; nothing more is read until it connects again");
    }
    if (was_full && !port_is_full())
        process_port_drained();
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

bool port_open(void) {
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
