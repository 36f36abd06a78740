/* What makes a cloned machine itself: clock, randomness, names, sysctls, network. Its boot id is its own without our
 * doing: the kernel draws it when it is read for the first time, and nobody has read it in a template. */
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

/* linux/random.h, which the static C library does not bring along */
#define RNDADDENTROPY 0x40085203
#define RNDRESEEDCRNG 0x5207
#define ENTROPY_LIMIT 512
#define MACHINE_ID_LENGTH 32

/* Open, and there to be written to, before there is a pod: in its way every step counts. */
static int generator = -1;
static char *machine_id;

bool identity_prepare(struct failure *failure) {
    generator = open("/dev/urandom", O_WRONLY | O_CLOEXEC);
    machine_id = map_file("/etc/machine-id", MACHINE_ID_LENGTH);
    if (generator < 0 || !machine_id)
        return failed(failure, "prepare an identity");
    /* Touched, so that the page is there. */
    memset(machine_id, '0', MACHINE_ID_LENGTH);
    return true;
}

bool clock_set(uint64_t nanoseconds, struct failure *failure) {
    struct timespec now = {.tv_sec = (time_t)(nanoseconds / 1000000000), .tv_nsec = (long)(nanoseconds % 1000000000)};
    return clock_settime(CLOCK_REALTIME, &now) == 0 || failed(failure, "set the clock");
}

uint64_t clock_read(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* Clones wake up with the same generator state: mixing in is not enough, it must also be used from now on. */
static bool seed(const uint8_t *bytes, uint32_t length, struct failure *failure) {
    struct {
        int bits, size;
        uint8_t bytes[ENTROPY_LIMIT];
    } pool = {.bits = (int)length * 8, .size = (int)length};
    if (length == 0 || length > ENTROPY_LIMIT) {
        errno = EINVAL;
        return failed(failure, "entropy of %u bytes", length);
    }
    memcpy(pool.bytes, bytes, length);
    return (ioctl(generator, RNDADDENTROPY, &pool) == 0 && ioctl(generator, RNDRESEEDCRNG) == 0) ||
           failed(failure, "seed the random number generator");
}

static bool set_sysctl(const char *name, const char *value, struct failure *failure) {
    char path[256];
    if (strstr(name, "..") || snprintf(path, sizeof path, "/proc/sys/%s", name) >= (int)sizeof path) {
        errno = EINVAL;
        return failed(failure, "sysctl %.64s", name);
    }
    for (char *dot = path + strlen("/proc/sys/"); *dot; dot++)
        if (*dot == '.')
            *dot = '/';
    return write_file(path, value) || failed(failure, "sysctl %.64s", name);
}

bool identify(struct reader *request, struct failure *failure) {
    uint64_t nanoseconds = read_u64(request);
    uint32_t length;
    const uint8_t *entropy = read_bytes(request, &length);
    const char *hostname = read_text(request);
    const char *machine = read_text(request);
    if (request->bad)
        return true; /* the caller sees it */
    if (!clock_set(nanoseconds, failure) || !seed(entropy, length, failure))
        return false;
    if (*hostname && sethostname(hostname, strlen(hostname)))
        return failed(failure, "set the host name");
    strncpy(machine_id, machine, MACHINE_ID_LENGTH);
    for (uint32_t left = read_count(request, 10); left > 0 && !request->bad; left--) {
        const char *name = read_text(request);
        const char *value = read_text(request);
        if (!request->bad && !set_sysctl(name, value, failure))
            return false;
    }
    return configure_network(request, failure);
}
