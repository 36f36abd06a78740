/* From the agent to a program inside a container.
 *
 *     agent ── fork ──▶ usher: enters the cgroup and the namespaces, starts ──▶ process (a child of the agent)
 *                       tells the process's number, and ends                     assembles the root if it is the first,
 *                                                                                becomes its user, and executes
 *
 * The agent waits until the program runs or has failed to: a report on a socket that closes when it is executed.
 */
#define _GNU_SOURCE
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#ifndef TIOCGPTPEER
#define TIOCGPTPEER 0x5441
#endif
#define CAPABILITY_VERSION_3 0x20080522
#define LAST_CAPABILITY 63
#define CAPABILITY_SYS_ADMIN 21
#define SECCOMP_FILTER 1 /* SECCOMP_SET_MODE_FILTER */
#define FILTER_STEP 8    /* sizeof(struct sock_filter) */
#define DEFAULT_PATH "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

enum about { ABOUT_PROCESS, ABOUT_TERMINAL, ABOUT_FAILURE };

struct report {
    enum about about;
    pid_t pid;
    struct failure failure;
};

static void send_report(int socket, const struct report *report, int descriptor) {
    struct iovec part = {.iov_base = (void *)report, .iov_len = sizeof *report};
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (descriptor >= 0) {
        message.msg_control = control.bytes;
        message.msg_controllen = sizeof control.bytes;
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(header), &descriptor, sizeof descriptor);
    }
    while (sendmsg(socket, &message, MSG_NOSIGNAL) < 0 && errno == EINTR) {
    }
}

static void give_up(int socket, struct report *report) {
    report->about = ABOUT_FAILURE;
    send_report(socket, report, -1);
    /* Not _exit, which tries for ever: a profile may forbid to end, and the agent waits for us. */
    syscall(SYS_exit_group, 127);
    __builtin_trap();
}

/* In the container's root: the master goes to the agent, the other side becomes the controlling terminal. */
static bool open_terminal(const struct launch *launch, bool first, int socket, struct failure *failure) {
    int master = open("/dev/pts/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
    int unlocked = 0;
    if (master < 0 || ioctl(master, TIOCSPTLCK, &unlocked))
        return failed(failure, "open a terminal");
    int slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY);
    if (slave < 0)
        return failed(failure, "open the terminal's other side");
    struct winsize size = {.ws_row = (unsigned short)launch->rows, .ws_col = (unsigned short)launch->columns};
    if (size.ws_row && size.ws_col)
        ioctl(master, TIOCSWINSZ, &size);
    if (first) {
        char path[64];
        snprintf(path, sizeof path, "/proc/self/fd/%d", slave);
        struct mount_point console = {
            .destination = "/dev/console", .source = path, .options = (const char *[]){"bind", NULL}};
        /* A convenience that some images lack the place for (a read-only /dev): not worth refusing them. */
        if (bind_tree(&console, failure))
            (void)move_tree(console.tree, console.destination, failure);
    }
    if (fchown(slave, launch->user, (gid_t)-1) && errno != EROFS)
        return failed(failure, "give the terminal to user %u", launch->user);
    if (ioctl(slave, TIOCSCTTY, 0))
        return failed(failure, "take the terminal");
    send_report(socket, &(struct report){.about = ABOUT_TERMINAL}, master);
    close(master);
    for (int standard = 0; standard < 3; standard++)
        if (dup2(slave, standard) < 0)
            return failed(failure, "use the terminal");
    if (slave > 2)
        close(slave);
    return true;
}

static bool use_pipes(const struct launch *launch, struct failure *failure) {
    return (dup2(launch->input, 0) == 0 && dup2(launch->output, 1) == 1 && dup2(launch->error, 2) == 2) ||
           failed(failure, "connect the standard streams");
}

static bool set_limits(const struct launch *launch, struct failure *failure) {
    for (uint32_t i = 0; i < launch->limit_count; i++) {
        const struct limit *limit = &launch->limits[i];
        struct rlimit value = {.rlim_cur = limit->soft, .rlim_max = limit->hard};
        if (setrlimit((int)limit->resource, &value))
            return failed(failure, "set resource limit %u", limit->resource);
    }
    return true;
}

/* Bounding set first, while we still may; then the identity; then, for root, what is left to use. */
static bool become_user(const struct launch *launch, struct failure *failure) {
    for (unsigned number = 0; number <= LAST_CAPABILITY; number++)
        if (!(launch->capabilities >> number & 1) && prctl(PR_CAPBSET_DROP, number, 0, 0, 0) && errno != EINVAL)
            return failed(failure, "drop capability %u", number);
    /* A profile is loaded with CAP_SYS_ADMIN, by any user: it is kept until the program is executed, which takes it away
     * because it is neither in the bounding set (if it is not granted) nor ambient. */
    bool filtered = launch->container->filter_length > 0;
    if (filtered && prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0))
        return failed(failure, "keep capabilities");
    if (setgroups(launch->group_count, launch->groups) || setresgid(launch->group, launch->group, launch->group) ||
        setresuid(launch->user, launch->user, launch->user))
        return failed(failure, "become user %u:%u", launch->user, launch->group);
    struct {
        uint32_t version;
        int pid;
    } header = {.version = CAPABILITY_VERSION_3};
    struct {
        uint32_t effective, permitted, inheritable;
    } sets[2] = {0};
    if (launch->user == 0)
        for (int half = 0; half < 2; half++)
            sets[half].effective = sets[half].permitted = (uint32_t)(launch->capabilities >> 32 * half);
    uint64_t known = 0;
    for (unsigned number = 0; number <= LAST_CAPABILITY; number++)
        if (prctl(PR_CAPBSET_READ, number, 0, 0, 0) == 1)
            known |= UINT64_C(1) << number;
    for (int half = 0; half < 2; half++) {
        sets[half].effective &= (uint32_t)(known >> 32 * half);
        sets[half].permitted = sets[half].effective;
    }
    if (filtered)
        sets[0].effective = sets[0].permitted |= UINT32_C(1) << CAPABILITY_SYS_ADMIN;
    if (syscall(SYS_capset, &header, sets))
        return failed(failure, "set capabilities");
    if (launch->no_new_privileges && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        return failed(failure, "set no_new_privs");
    return true;
}

/* The last step before the program: from here on only what the profile allows can be done. */
static bool filter_calls(const struct container *container, struct failure *failure) {
    const struct {
        unsigned short length;
        const void *filter;
    } program = {.length = (unsigned short)(container->filter_length / FILTER_STEP), .filter = container->filter};
    return container->filter_length == 0 ||
           syscall(SYS_seccomp, SECCOMP_FILTER, container->filter_flags, &program) == 0 ||
           failed(failure, "load the seccomp profile");
}

/* The home directory of the image's own passwd file, as every container runtime sets it when nobody else did. */
static void set_home(uint32_t user) {
    FILE *accounts = fopen("/etc/passwd", "re");
    char line[512];
    setenv("HOME", user == 0 ? "/root" : "/", 0);
    while (accounts && fgets(line, sizeof line, accounts)) {
        char *rest = line, *fields[6] = {0};
        for (int i = 0; i < 6; i++)
            fields[i] = strsep(&rest, ":\n");
        if (fields[5] && *fields[2] && strtoul(fields[2], NULL, 10) == user) {
            setenv("HOME", fields[5], 1);
            break;
        }
    }
    if (accounts)
        fclose(accounts);
}

static void set_environment(const struct launch *launch) {
    clearenv();
    putenv((char *)DEFAULT_PATH);
    for (const char **variable = launch->environment; *variable; variable++)
        if (strchr(*variable, '='))
            putenv((char *)*variable);
    if (!getenv("HOME"))
        set_home(launch->user);
    if (launch->terminal)
        setenv("TERM", "xterm", 0);
}

static void reset_signals(void) {
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
}

static void become(const struct launch *launch, bool first, int socket) {
    struct report report = {0};
    struct failure *failure = &report.failure;
    umask(022);
    setsid();
    if ((first && !container_enter_root(launch->container, failure)) ||
        !(launch->terminal ? open_terminal(launch, first, socket, failure) : use_pipes(launch, failure)))
        give_up(socket, &report);
    if (first)
        make_directories(launch->directory, 0755);
    if (!set_limits(launch, failure))
        give_up(socket, &report);
    if (chdir(launch->directory)) {
        failed(failure, "chdir to %s", launch->directory);
        give_up(socket, &report);
    }
    set_environment(launch);
    if (!become_user(launch, failure))
        give_up(socket, &report);
    reset_signals();
    if (!filter_calls(launch->container, failure))
        give_up(socket, &report);
    execvp(launch->arguments[0], (char *const *)launch->arguments);
    failed(failure, "exec %.200s", launch->arguments[0]);
    give_up(socket, &report);
}

static bool enter_namespaces(const struct launch *launch, bool first, struct failure *failure) {
    const int kinds = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWCGROUP;
    if (first)
        return unshare(kinds) == 0 || failed(failure, "make namespaces");
    int process = (int)syscall(SYS_pidfd_open, launch->container->first, 0);
    if (process < 0 || setns(process, kinds))
        return failed(failure, "join the container's namespaces");
    close(process);
    return true;
}

static void usher(const struct launch *launch, bool first, int socket) {
    struct report report = {0};
    /* A process that runs out of memory should be the container's, not the agent. */
    write_file("/proc/self/oom_score_adj", "0");
    if (!cgroup_enter(launch->container->id, &report.failure) || !enter_namespaces(launch, first, &report.failure))
        give_up(socket, &report);
    pid_t pid = (pid_t)syscall(SYS_clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0);
    if (pid == 0)
        become(launch, first, socket);
    if (pid < 0) {
        failed(&report.failure, "fork");
        give_up(socket, &report);
    }
    report = (struct report){.about = ABOUT_PROCESS, .pid = pid};
    send_report(socket, &report, -1);
    _exit(0);
}

static int received_descriptor(struct msghdr *message) {
    int descriptor = -1;
    struct cmsghdr *header = CMSG_FIRSTHDR(message);
    if (header && header->cmsg_type == SCM_RIGHTS)
        memcpy(&descriptor, CMSG_DATA(header), sizeof descriptor);
    return descriptor;
}

/* Until everybody on the other end has gone. True if nobody failed. */
static bool hear_reports(int socket, pid_t *pid, int *terminal, struct failure *failure) {
    bool fine = true;
    for (;;) {
        struct report report;
        struct iovec part = {.iov_base = &report, .iov_len = sizeof report};
        union {
            struct cmsghdr header;
            char bytes[CMSG_SPACE(sizeof(int))];
        } control;
        struct msghdr message = {
            .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
        ssize_t got = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
        if (got < 0 && errno == EINTR)
            continue;
        if (got != sizeof report)
            return fine;
        if (report.about == ABOUT_PROCESS)
            *pid = report.pid;
        if (report.about == ABOUT_TERMINAL)
            *terminal = received_descriptor(&message);
        if (report.about == ABOUT_FAILURE) {
            *failure = report.failure;
            fine = false;
        }
    }
}

pid_t spawn(const struct launch *launch, int *terminal, struct failure *failure) {
    bool first = !launch->container->started;
    int ends[2];
    pid_t pid = -1;
    *terminal = -1;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends)) {
        failed(failure, "socketpair");
        return -1;
    }
    pid_t helper = fork();
    if (helper == 0)
        usher(launch, first, ends[1]);
    close(ends[1]);
    if (helper < 0)
        failed(failure, "fork");
    bool fine = helper > 0 && hear_reports(ends[0], &pid, terminal, failure);
    close(ends[0]);
    if (helper > 0)
        waitpid(helper, NULL, 0);
    if (fine && pid > 0)
        return pid;
    if (fine) {
        errno = ECHILD;
        failed(failure, "the process died before it was executed");
    }
    if (*terminal >= 0)
        close(*terminal);
    *terminal = -1;
    return -1;
}
