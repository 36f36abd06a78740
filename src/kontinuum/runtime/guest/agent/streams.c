/* Streams of bytes between a descriptor here and the host. What goes out moves only when the host has granted credit for
 * it and the port has room; otherwise it stays in the pipe or socket, where it holds up who writes it. What comes in is
 * kept until it is taken, never more than was granted. */
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define CHUNK (32u << 10)

static struct stream *streams;

bool stream_is_open(const struct stream *stream) {
    return stream->source.descriptor >= 0;
}

void stream_close(struct stream *stream) {
    if (!stream_is_open(stream))
        return;
    struct stream **link = &streams;
    while (*link != stream)
        link = &(*link)->next;
    *link = stream->next;
    watch(&stream->source, 0);
    /* The other direction of a socket has a descriptor of its own. */
    if (stream->is_socket && stream->number == INPUT)
        shutdown(stream->source.descriptor, SHUT_WR);
    close(stream->source.descriptor);
    stream->source.descriptor = -1;
    free(stream->pending);
    stream->pending = NULL;
    stream->pending_length = 0;
}

static struct stream *find(const struct frame *frame) {
    struct stream *one = streams;
    while (one && (one->handle != frame->id || one->number != frame->stream))
        one = one->next;
    return one;
}

/* The last that is done with a stream: its owner may be gone afterwards. */
static void finish(struct stream *stream, bool tell) {
    stream_close(stream);
    if (tell) {
        port_room(KIND_END, stream->number, stream->handle, 0);
        port_send(0);
    }
    stream->over(stream->owner);
}

static void watch_output(struct stream *stream) {
    watch(&stream->source, stream->credit > 0 && !port_is_full() ? EPOLLIN : 0);
}

static void output_ready(struct source *source) {
    struct stream *stream = (struct stream *)source;
    size_t most = stream->credit < CHUNK ? stream->credit : CHUNK;
    if (most == 0 || port_is_full()) {
        watch_output(stream);
        return;
    }
    uint8_t *room = port_room(KIND_DATA, stream->number, stream->handle, most);
    ssize_t got = read(source->descriptor, room, most);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got > 0) {
        stream->credit -= (uint32_t)got;
        port_send((size_t)got);
        watch_output(stream);
        return;
    }
    /* The end; a terminal says it with EIO. */
    finish(stream, true);
}

static void input_ready(struct source *source) {
    struct stream *stream = (struct stream *)source;
    size_t written = 0;
    bool broken = false;
    while (written < stream->pending_length && !broken) {
        ssize_t put = write(source->descriptor, stream->pending + written, stream->pending_length - written);
        if (put > 0)
            written += (size_t)put;
        else if (put < 0 && errno == EAGAIN)
            break;
        else
            broken = !(put < 0 && errno == EINTR);
    }
    if (broken) {
        finish(stream, true);
        return;
    }
    if (written > 0) {
        stream->pending_length -= written;
        memmove(stream->pending, stream->pending + written, stream->pending_length);
        write_u32(port_room(KIND_CREDIT, stream->number, stream->handle, 4), (uint32_t)written);
        port_send(4);
    }
    if (stream->pending_length == 0 && stream->ending)
        finish(stream, false);
    else
        watch(source, stream->pending_length > 0 ? EPOLLOUT : 0);
}

void stream_open(struct stream *stream, int descriptor) {
    stream->source.descriptor = descriptor;
    if (descriptor < 0)
        return;
    stream->source.ready = stream->number == INPUT ? input_ready : output_ready;
    stream->credit = INITIAL_CREDIT;
    stream->next = streams;
    streams = stream;
    fcntl(descriptor, F_SETFL, O_NONBLOCK);
    if (stream->number != INPUT)
        watch_output(stream);
}

void streams_port_drained(void) {
    for (struct stream *one = streams; one; one = one->next)
        if (one->number != INPUT)
            watch_output(one);
}

bool stream_data(const struct frame *frame) {
    struct stream *stream = find(frame);
    if (!stream)
        return false;
    if (stream->number != INPUT || stream->ending)
        return true;
    if (!stream->pending)
        stream->pending = malloc(INITIAL_CREDIT);
    if (!stream->pending || frame->length > INITIAL_CREDIT - stream->pending_length) {
        say("the host sent more input than it was granted");
        finish(stream, true);
        return true;
    }
    memcpy(stream->pending + stream->pending_length, frame->payload, frame->length);
    stream->pending_length += frame->length;
    input_ready(&stream->source);
    return true;
}

void stream_credit(const struct frame *frame) {
    struct stream *stream = find(frame);
    struct reader reader = reader_of(frame);
    uint32_t credit = read_u32(&reader);
    if (!stream || !read_whole(&reader) || stream->number == INPUT)
        return;
    uint64_t sum = (uint64_t)stream->credit + credit;
    stream->credit = sum > INITIAL_CREDIT ? INITIAL_CREDIT : (uint32_t)sum;
    watch_output(stream);
}

void stream_end(const struct frame *frame) {
    struct stream *stream = find(frame);
    /* A terminal has no end of input; programs are told with ^D, by who types it. */
    if (!stream || stream->is_terminal)
        return;
    if (stream->number != INPUT) {
        finish(stream, false);
        return;
    }
    stream->ending = true;
    input_ready(&stream->source);
}
