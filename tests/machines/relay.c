/* A first process for a machine whose agent listens on a vsock port: the host's end of that vsock, on the wrong side.
 *
 * It leaves a child behind and becomes the agent. The child passes on what comes by the virtio-serial port, which the
 * agent then does not use, to the agent's vsock port, by the kernel's loopback; so the whole way but the VMM's own
 * device is the real one. */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* PORT, the agent's, is said by who includes this. */
#define LOCAL_CID 1

struct vsock_address {
    sa_family_t family;
    uint16_t zero;
    uint32_t port, cid;
    uint8_t flags, padding[3];
};

static int open_port(void) {
    for (;;) {
        char path[32];
        for (int device = 0; device < 16; device++) {
            snprintf(path, sizeof path, "/devices/vport%dp1", device);
            int port = open(path, O_RDWR | O_NONBLOCK);
            if (port >= 0)
                return port;
        }
        usleep(2000);
    }
}

static int call(void) {
    struct vsock_address there = {.family = AF_VSOCK, .port = PORT, .cid = LOCAL_CID};
    for (;;) {
        int line = socket(AF_VSOCK, SOCK_STREAM, 0);
        if (line >= 0 && connect(line, (struct sockaddr *)&there, sizeof there) == 0) {
            fcntl(line, F_SETFL, O_NONBLOCK);
            return line;
        }
        close(line);
        usleep(2000);
    }
}

static void write_all(int to, const char *bytes, ssize_t length) {
    while (length > 0) {
        ssize_t sent = write(to, bytes, (size_t)length);
        if (sent < 0 && errno != EAGAIN)
            return;
        if (sent < 0)
            usleep(500);
        else
            bytes += sent, length -= sent;
    }
}

static void relay(void) {
    static char bytes[32 << 10];
    int module = open("/loopback.ko", O_RDONLY), port = open_port(), line = -1;
    while (syscall(SYS_finit_module, module, "", 0) && errno != EEXIST)
        usleep(2000); /* until the agent has loaded what it stands on */
    for (;;) {
        ssize_t got = read(port, bytes, sizeof bytes);
        if (got > 0) {
            line = line < 0 ? call() : line;
            write_all(line, bytes, got);
        } else if (got == 0 && line >= 0) {
            close(line);
            line = -1;
        }
        ssize_t came = line < 0 ? -1 : read(line, bytes, sizeof bytes);
        if (came > 0) {
            write_all(port, bytes, came);
        } else if (came == 0) {
            close(line);
            line = -1;
        }
        if (got <= 0 && came <= 0)
            usleep(500);
    }
}

int main(int count, char **words) {
    (void)count;
    mkdir("/devices", 0755);
    mount("devtmpfs", "/devices", "devtmpfs", 0, "");
    if (fork() == 0)
        relay();
    execv("/agent", words);
    return 1;
}
