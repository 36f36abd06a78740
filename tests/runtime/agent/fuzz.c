/* The agent's two parsers of foreign bytes, and what it does with foreign paths, on the host and under the sanitizers.
 *
 *     fuzz frames SEED ROUNDS          random and half-sound frames, cut at random, every value read from them
 *     fuzz tar DIRECTORY SEED ROUNDS   the archive on standard input, mutated, unpacked into DIRECTORY
 *     fuzz read PATH                   how many bytes of it are read (-1: none), and the errno
 *     fuzz make PATH                   whether the directory is made, and the errno
 *
 * It says how much came through, so that a fuzzer that reaches nothing is noticed.
 */
#define _GNU_SOURCE
#include "agent.h"
#include "tar.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static unsigned long frames, values, unpacked, refused;

static void read_everything(void *context, const struct frame *frame) {
    struct reader reader = reader_of(frame);
    uint32_t count;
    (void)context;
    frames++;
    for (int turn = 0; turn < 8 && !reader.bad; turn++) {
        switch (random() % 6) {
        case 0: read_u8(&reader); break;
        case 1: read_u32(&reader); break;
        case 2: read_u64(&reader); break;
        case 3: (void)strlen(read_text(&reader)); break;
        case 4: free(read_texts(&reader, &count)); break;
        case 5: read_bytes(&reader, &count); break;
        }
        values += !reader.bad;
    }
}

static size_t half_sound_frame(uint8_t *to) {
    size_t length = (size_t)random() % 200;
    memset(to, 0, FRAME_HEADER);
    write_u32(to, (uint32_t)length);
    to[4] = (uint8_t)(random() % 40);
    for (size_t i = 0; i < length; i++)
        to[FRAME_HEADER + i] = (uint8_t)(random() % 4 ? random() % 8 : random());
    if (random() % 20 == 0)
        to[random() % FRAME_HEADER] = (uint8_t)random();
    return FRAME_HEADER + length;
}

static void fuzz_frames(long rounds) {
    struct parser parser = {.buffer = malloc(FRAME_HEADER + REQUEST_LIMIT)};
    uint8_t bytes[512];
    for (long round = 0; round < rounds; round++) {
        parser_reset(&parser);
        for (int turn = 0; turn < 20; turn++) {
            size_t length = half_sound_frame(bytes), cut = (size_t)random() % (length + 1);
            parser_feed(&parser, bytes, cut, read_everything, NULL);
            parser_feed(&parser, bytes + cut, length - cut, read_everything, NULL);
        }
    }
    free(parser.buffer);
}

static void unpack(const char *place, const uint8_t *bytes, size_t length) {
    struct tar *tar = malloc(sizeof *tar);
    tar_begin(tar, open(place, O_RDONLY | O_DIRECTORY));
    bool fine = true;
    for (size_t at = 0; fine && at < length;) {
        size_t piece = 1 + (size_t)random() % 3000;
        piece = piece < length - at ? piece : length - at;
        fine = tar_feed(tar, bytes + at, piece);
        at += piece;
    }
    if (fine && tar_finish(tar))
        unpacked++;
    else
        refused++;
    tar_release(tar);
    free(tar);
}

/* So that mutated headers get past the first check and into the code behind it. */
static void mend_checksum(uint8_t *header) {
    unsigned sum = 0;
    memset(header + 148, ' ', 8);
    for (int i = 0; i < TAR_BLOCK; i++)
        sum += header[i];
    snprintf((char *)header + 148, 8, "%06o", sum);
}

static void fuzz_tar(const char *place, long rounds) {
    static uint8_t original[1 << 20], mutated[1 << 20];
    size_t length = fread(original, 1, sizeof original, stdin);
    unpack(place, original, length);
    for (long round = 0; round < rounds; round++) {
        memcpy(mutated, original, length);
        for (int turn = (int)(random() % 6); turn >= 0; turn--) {
            size_t at = (size_t)random() % length;
            mutated[at] = random() % 2 ? (uint8_t)random() : (uint8_t)('0' + random() % 10);
            mend_checksum(mutated + at / TAR_BLOCK * TAR_BLOCK);
        }
        unpack(place, mutated, random() % 4 ? length : (size_t)random() % length);
    }
}

int main(int count, char **words) {
    if (count == 4 && !strcmp(words[1], "frames")) {
        srandom((unsigned)atoi(words[2]));
        fuzz_frames(atol(words[3]));
        printf("%lu %lu\n", frames, values);
        return 0;
    }
    if (count == 5 && !strcmp(words[1], "tar")) {
        srandom((unsigned)atoi(words[3]));
        fuzz_tar(words[2], atol(words[4]));
        printf("%lu %lu\n", unpacked, refused);
        return 0;
    }
    if (count == 3 && !strcmp(words[1], "read")) {
        static char content[64];
        errno = 0;
        ssize_t length = read_foreign_file(words[2], content, sizeof content);
        printf("%zd %d\n", length, errno);
        return 0;
    }
    if (count == 3 && !strcmp(words[1], "make")) {
        errno = 0;
        bool made = make_directories(words[2], 0755);
        printf("%d %d\n", made, errno);
        return 0;
    }
    return 2;
}
