/* A tar archive, unpacked as it streams by. */
#ifndef TAR_H
#define TAR_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define TAR_BLOCK 512
#define TAR_EXTENSION_LIMIT 8192

struct tar {
    int root; /* where everything goes; owned */
    int file; /* the regular file whose content is arriving, or -1 */
    bool ended;
    uint8_t header[TAR_BLOCK];
    size_t header_filled;
    uint64_t content, padding; /* still to come of the present entry */
    char kind;
    char path[PATH_MAX], link[PATH_MAX];
    mode_t mode;
    uid_t owner;
    gid_t group;
    char extension[TAR_EXTENSION_LIMIT + 1]; /* a pax or GNU header that describes the next entry */
    size_t extension_filled;
    char next_path[PATH_MAX], next_link[PATH_MAX];
    uint64_t next_size, next_owner, next_group;
    bool has_size, has_owner, has_group;
    char **seen; /* every path of the archive, so that the rest can go */
    size_t seen_count, seen_capacity;
};

void tar_begin(struct tar *tar, int root);
bool tar_feed(struct tar *tar, const uint8_t *bytes, size_t length); /* false: errno says why */
bool tar_finish(struct tar *tar);
void tar_release(struct tar *tar);
const char *tar_entry(const struct tar *tar);

#endif
