#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#define HEAP_SIZES 8192

static int epoll;
static struct source children;

bool failed(struct failure *failure, const char *format, ...) {
    failure->number = errno ? errno : EINVAL;
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(failure->text, sizeof failure->text, format, arguments);
    va_end(arguments);
    if (length >= 0 && (size_t)length < sizeof failure->text)
        snprintf(failure->text + length, sizeof failure->text - (size_t)length, ": %s", strerror(failure->number));
    return false;
}

void say(const char *format, ...) {
    char line[512];
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    int length = snprintf(line, sizeof line, "agent %ld.%03ld ", (long)now.tv_sec, now.tv_nsec / 1000000);
    va_list arguments;
    va_start(arguments, format);
    length += vsnprintf(line + length, sizeof line - (size_t)length, format, arguments);
    va_end(arguments);
    dprintf(1, "%.*s\n", length < (int)sizeof line ? length : (int)sizeof line - 1, line);
}

void watch(struct source *source, uint32_t events) {
    if (events == source->events)
        return;
    /* Not watched means not in the set at all: a descriptor with no events of interest still reports hang-ups. */
    struct epoll_event event = {.events = events, .data.ptr = source};
    int what = events == 0 ? EPOLL_CTL_DEL : source->events == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
    if (epoll_ctl(epoll, what, source->descriptor, &event) && what == EPOLL_CTL_ADD)
        say("epoll: %s", strerror(errno));
    source->events = events;
}

static void child_ended(struct source *source) {
    struct signalfd_siginfo information;
    while (read(source->descriptor, &information, sizeof information) > 0) {
    }
    process_reap();
}

static void watch_children(void) {
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGCHLD);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    children.descriptor = signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC);
    children.ready = child_ended;
    watch(&children, EPOLLIN);
}

/* A machine without an agent is of no use: ending it tells the host at once. */
static void give_up(const char *reason) {
    say("giving up: %s", reason);
    reboot(RB_AUTOBOOT);
    _exit(1);
}

/* Our own: each process that somebody watches takes three descriptors, and there may be hundreds. */
static void raise_limits(void) {
    struct rlimit files = {.rlim_cur = MOST_FILES, .rlim_max = MOST_FILES};
    if (setrlimit(RLIMIT_NOFILE, &files))
        say("limit of open files: %s", strerror(errno));
}

/* Free memory is told to the host in blocks of 2^5 pages. With the kernel's own 2^9, it keeps 64 MiB to itself before it
 * tells of any, which in a small machine is never. The kernel takes the number from its driver: only now it can be set. */
static void report_free_memory(void) {
    if (!write_file("/sys/module/page_reporting/parameters/page_reporting_order", "5"))
        say("free page reporting: %s", strerror(errno));
}

/* A little of every size stays in use, so that the C library has room for more of it and need not ask the kernel. */
static void warm_heap(void) {
    for (size_t size = 8; size < HEAP_SIZES; size += size / 4 + 8)
        if (!malloc(size))
            say("memory: %s", strerror(errno));
}

int main(void) {
    struct failure failure;
    if (getpid() != 1) {
        dprintf(2, "The guest agent is the first process of a machine; it does nothing elsewhere.\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    warm_heap();
    take_modules("order", true);
    take_modules("vsock", port_is_vsock(&(unsigned){0}));
    if (!mount_machine(&failure))
        give_up(failure.text);
    if (!cgroup_prepare(&failure) || !identity_prepare(&failure) || !network_prepare(&failure) ||
        !process_prepare(&failure) || !spawn_prepare(&failure))
        give_up(failure.text);
    disks_prepare();
    raise_limits();
    report_free_memory();
    layers_prepare();
    epoll = epoll_create1(EPOLL_CLOEXEC);
    watch_children();
    if (!port_open())
        give_up("the host's port did not appear");
    for (;;) {
        /* One event at a time: handling it may free what a second one would have pointed to. */
        struct epoll_event event;
        if (epoll_wait(epoll, &event, 1, -1) == 1)
            ((struct source *)event.data.ptr)->ready(event.data.ptr);
    }
}
