/* Directory trees that arrive as tar archives (POSIX.1-2001 pax and ustar), written as they arrive.
 *
 * A file or link is made beside its place and renamed into it, so that readers see the old or the new one; what the
 * archive did not name is removed at the end. Paths are resolved beneath the target without following links: what
 * lies there may be a container's doing.
 */
#define _GNU_SOURCE
#include "agent.h"
#include "tar.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct arriving {
    struct arriving *next;
    uint32_t id;
    bool broken;
    struct failure failure;
    struct tar tar;
};

static struct arriving *arrivals;

bool tree_begin(const struct frame *frame, struct failure *failure) {
    struct reader reader = reader_of(frame);
    const char *path = read_text(&reader);
    struct arriving *one = calloc(1, sizeof *one);
    errno = EBADMSG;
    if (!one || !read_whole(&reader) || path[0] != '/' || !make_directories(path, 0755)) {
        free(one);
        return failed(failure, "write a tree to %.200s", path);
    }
    int root = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root < 0) {
        free(one);
        return failed(failure, "open %.200s", path);
    }
    tar_begin(&one->tar, root);
    one->id = frame->id;
    one->next = arrivals;
    arrivals = one;
    return true;
}

static struct arriving **find(uint32_t id) {
    struct arriving **link = &arrivals;
    while (*link && (*link)->id != id)
        link = &(*link)->next;
    return link;
}

bool tree_data(const struct frame *frame) {
    struct arriving *one = *find(frame->id);
    if (!one)
        return false;
    if (!one->broken && !tar_feed(&one->tar, frame->payload, frame->length)) {
        one->broken = true;
        failed(&one->failure, "write %.200s", tar_entry(&one->tar));
    }
    write_u32(port_room(KIND_CREDIT, 0, frame->id, 4), frame->length);
    port_send(4);
    return true;
}

bool tree_end(const struct frame *frame) {
    struct arriving **link = find(frame->id), *one = *link;
    if (!one)
        return false;
    *link = one->next;
    if (!one->broken && !tar_finish(&one->tar)) {
        one->broken = true;
        failed(&one->failure, "finish the tree");
    }
    tar_release(&one->tar);
    if (one->broken)
        reply_refused(frame->id, &one->failure);
    else
        reply_ok(frame->id, NULL, 0);
    free(one);
    return true;
}
