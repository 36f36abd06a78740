/* Connections that the host makes into the machine: to what listens on its loopback, as `kubectl port-forward` does. */
#include "agent.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

/* How often a listener whose queue is full is asked again: 15 seconds in all, less than the host waits. */
#define ATTEMPTS 3
#define MOST_CONNECTIONS 1024

enum { LOOPBACK_4, LOOPBACK_6, LOOPBACKS };

struct connection {
    struct source waiting; /* first: the loop's pointer is ours too */
    uint32_t id;
    uint16_t port;
    int tried;
    struct stream input, output;
};

static unsigned count;

static void forget(struct connection *connection) {
    count--;
    free(connection);
}

static void stream_over(void *owner) {
    struct connection *connection = owner;
    if (!stream_is_open(&connection->input) && !stream_is_open(&connection->output))
        forget(connection);
}

static void refuse(struct connection *connection) {
    struct failure failure;
    failed(&failure, "connect to port %u of the machine's loopback", connection->port);
    reply_refused(connection->id, &failure);
    forget(connection);
}

static void established(struct connection *connection, int socket) {
    int second = fcntl(socket, F_DUPFD_CLOEXEC, 3);
    if (second < 0) {
        refuse(connection);
        close(socket);
        return;
    }
    connection->input = (struct stream){.handle = connection->id, .number = INPUT};
    connection->output = (struct stream){.handle = connection->id, .number = OUTPUT};
    connection->input.is_socket = connection->output.is_socket = true;
    connection->input.over = connection->output.over = stream_over;
    connection->input.owner = connection->output.owner = connection;
    reply_ok(connection->id, NULL, 0);
    stream_open(&connection->input, second);
    stream_open(&connection->output, socket);
}

static int begin(int which, uint16_t port) {
    struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    four.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int attempts = ATTEMPTS;
    int made = socket(which == LOOPBACK_4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (made < 0)
        return -1;
    setsockopt(made, IPPROTO_TCP, TCP_SYNCNT, &attempts, sizeof attempts);
    int done = which == LOOPBACK_4 ? connect(made, (struct sockaddr *)&four, sizeof four)
                                   : connect(made, (struct sockaddr *)&six, sizeof six);
    if (done == 0 || errno == EINPROGRESS)
        return made;
    int number = errno;
    close(made);
    errno = number;
    return -1;
}

/* From one address to the next; the reason for people is that of the first, because there most listen. */
static void try_on(struct connection *connection, int reason) {
    while (connection->tried < LOOPBACKS) {
        int socket = begin(connection->tried++, connection->port);
        if (socket >= 0) {
            connection->waiting.descriptor = socket;
            watch(&connection->waiting, EPOLLOUT);
            return;
        }
        reason = reason ? reason : errno;
    }
    errno = reason;
    refuse(connection);
}

static void answered(struct source *source) {
    struct connection *connection = (struct connection *)source;
    int socket = source->descriptor, reason = 0;
    socklen_t size = sizeof reason;
    getsockopt(socket, SOL_SOCKET, SO_ERROR, &reason, &size);
    watch(source, 0);
    if (reason == 0) {
        established(connection, socket);
        return;
    }
    close(socket);
    try_on(connection, reason);
}

bool dial(const struct frame *frame, struct failure *failure) {
    struct reader reader = reader_of(frame);
    uint32_t port = read_u32(&reader);
    errno = EBADMSG;
    if (!read_whole(&reader) || port == 0 || port > UINT16_MAX)
        return failed(failure, "dial");
    errno = EMFILE;
    struct connection *connection = count < MOST_CONNECTIONS ? calloc(1, sizeof *connection) : NULL;
    if (!connection)
        return failed(failure, "dial port %u", port);
    count++;
    connection->id = frame->id;
    connection->port = (uint16_t)port;
    connection->waiting.ready = answered;
    connection->input.source.descriptor = connection->output.source.descriptor = -1;
    try_on(connection, 0);
    return true;
}
