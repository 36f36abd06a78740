#include "frames.h"

#include <stdlib.h>
#include <string.h>

/* Little-endian on the wire; the only processors this is built for are, too. */
static uint32_t load_u32(const uint8_t *at) {
    uint32_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

void parser_reset(struct parser *parser) {
    parser->filled = 0;
    parser->broken = false;
}

static bool header_is_sound(const uint8_t *header) {
    uint32_t length = load_u32(header);
    uint8_t kind = header[4];
    bool stream_frame = kind == KIND_DATA || kind == KIND_CREDIT || kind == KIND_END;
    return length <= (stream_frame ? DATA_LIMIT : REQUEST_LIMIT) && header[6] == 0 && header[7] == 0;
}

bool parser_feed(struct parser *parser, const uint8_t *bytes, size_t length, frame_handler *handler, void *context) {
    while (length > 0 && !parser->broken) {
        size_t whole = FRAME_HEADER;
        if (parser->filled >= FRAME_HEADER)
            whole += load_u32(parser->buffer);
        size_t take = whole - parser->filled < length ? whole - parser->filled : length;
        memcpy(parser->buffer + parser->filled, bytes, take);
        parser->filled += take;
        bytes += take;
        length -= take;
        if (parser->filled < whole)
            continue;
        if (whole == FRAME_HEADER) {
            if (!header_is_sound(parser->buffer)) {
                parser->broken = true;
                break;
            }
            if (load_u32(parser->buffer) > 0)
                continue;
        }
        struct frame frame = {
            .kind = parser->buffer[4],
            .stream = parser->buffer[5],
            .id = load_u32(parser->buffer + 8),
            .payload = parser->buffer + FRAME_HEADER,
            .length = (uint32_t)(whole - FRAME_HEADER),
        };
        parser->filled = 0;
        handler(context, &frame);
    }
    return !parser->broken;
}

struct reader reader_of(const struct frame *frame) {
    return (struct reader){.at = frame->payload, .end = frame->payload + frame->length};
}

static const uint8_t *take(struct reader *reader, size_t length) {
    if (reader->bad || (size_t)(reader->end - reader->at) < length) {
        reader->bad = true;
        return NULL;
    }
    const uint8_t *at = reader->at;
    reader->at += length;
    return at;
}

uint8_t read_u8(struct reader *reader) {
    const uint8_t *at = take(reader, 1);
    return at ? *at : 0;
}

uint32_t read_u32(struct reader *reader) {
    const uint8_t *at = take(reader, 4);
    return at ? load_u32(at) : 0;
}

uint64_t read_u64(struct reader *reader) {
    uint64_t value = 0;
    const uint8_t *at = take(reader, 8);
    if (at)
        memcpy(&value, at, sizeof value);
    return value;
}

const uint8_t *read_bytes(struct reader *reader, uint32_t *length) {
    *length = read_u32(reader);
    const uint8_t *at = take(reader, *length);
    if (!at)
        *length = 0;
    return at;
}

/* Texts carry their final zero, so that they can be used where they lie. */
const char *read_text(struct reader *reader) {
    uint32_t length;
    const char *text = (const char *)read_bytes(reader, &length);
    if (!text || length == 0 || memchr(text, 0, length) != text + length - 1) {
        reader->bad = true;
        return "";
    }
    return text;
}

uint32_t read_count(struct reader *reader, size_t least) {
    uint32_t count = read_u32(reader);
    if (count > (size_t)(reader->end - reader->at) / least) {
        reader->bad = true;
        return 0;
    }
    return count;
}

const char **read_texts(struct reader *reader, uint32_t *count) {
    *count = read_count(reader, 5);
    const char **texts = calloc((size_t)*count + 1, sizeof *texts);
    for (uint32_t i = 0; texts && i < *count; i++)
        texts[i] = read_text(reader);
    if (!texts || reader->bad) {
        reader->bad = true;
        free(texts);
        return NULL;
    }
    return texts;
}

bool read_whole(const struct reader *reader) {
    return !reader->bad && reader->at == reader->end;
}

void write_u16(uint8_t *at, uint16_t value) {
    memcpy(at, &value, sizeof value);
}

void write_u32(uint8_t *at, uint32_t value) {
    memcpy(at, &value, sizeof value);
}

void write_u64(uint8_t *at, uint64_t value) {
    memcpy(at, &value, sizeof value);
}
