/* The wire: frames, and the values inside them. Knows nothing of containers, so that it can be tested anywhere. */
#ifndef FRAMES_H
#define FRAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* guest/protocol.py is the other half of these numbers; a test compares them. */
#define PROTOCOL_VERSION 6u
#define FRAME_HEADER 12u
#define REQUEST_LIMIT (1u << 20)
#define DATA_LIMIT (64u << 10)
#define INITIAL_CREDIT (128u << 10)

enum kind {
    KIND_HELLO = 1,
    KIND_IDENTIFY = 2,
    KIND_ADD_CONTAINER = 3,
    KIND_REMOVE_CONTAINER = 4,
    KIND_UPDATE_CONTAINER = 5,
    KIND_START_PROCESS = 6,
    KIND_SIGNAL = 7,
    KIND_RESIZE = 8,
    KIND_WRITE_TREE = 9,
    KIND_STATS = 10,
    KIND_PROCESSES = 11,
    KIND_READ_FILE = 12,
    KIND_MOUNT_DISK = 13,
    KIND_UNMOUNT = 14,
    KIND_FORGET = 15,
    KIND_DATA = 16,
    KIND_CREDIT = 17,
    KIND_END = 18,
    KIND_CLOCK = 19,
    KIND_DIAL = 20,
    KIND_MOUNT_MEMORY = 21,
    KIND_OK = 32,
    KIND_REFUSED = 33,
    KIND_EXIT = 34,
};

struct frame {
    uint8_t kind;
    uint8_t stream;
    uint32_t id;
    const uint8_t *payload;
    uint32_t length;
};

/* Bytes go in, whole frames come out. After a violation nothing comes out until it is reset. */
struct parser {
    uint8_t *buffer; /* FRAME_HEADER + REQUEST_LIMIT bytes */
    size_t filled;
    bool broken;
};

typedef void frame_handler(void *context, const struct frame *frame);

void parser_reset(struct parser *parser);
bool parser_feed(struct parser *parser, const uint8_t *bytes, size_t length, frame_handler *handler, void *context);

/* Reading values. A reader that ran over its end answers zeros and empty texts, and is `bad` for good. */
struct reader {
    const uint8_t *at, *end;
    bool bad;
};

struct reader reader_of(const struct frame *frame);
uint8_t read_u8(struct reader *reader);
uint32_t read_u32(struct reader *reader);
uint64_t read_u64(struct reader *reader);
const uint8_t *read_bytes(struct reader *reader, uint32_t *length);
const char *read_text(struct reader *reader);
/* A NULL-terminated array of texts; the caller frees the array. NULL only when the reader is bad or memory is out. */
const char **read_texts(struct reader *reader, uint32_t *count);
/* A count of things of at least `least` bytes each; 0 and bad if so many cannot be there. */
uint32_t read_count(struct reader *reader, size_t least);
/* Everything was read, and all of it was there. */
bool read_whole(const struct reader *reader);

void write_u16(uint8_t *at, uint16_t value);
void write_u32(uint8_t *at, uint32_t value);
void write_u64(uint8_t *at, uint64_t value);

#endif
