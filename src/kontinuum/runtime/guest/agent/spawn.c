/* From the agent to a program inside a container.
 *
 *     agent ── clone ──▶ process: born in the container's cgroup and process namespace; assembles the root if it is the
 *     stands still                first, becomes its user, and executes
 *
 * The agent stands still until the program runs or has failed to, and lends the process its memory meanwhile (vfork): to
 * copy it, for a program that needs nothing of it, is most of what a fork costs. So the process writes to nothing that
 * the agent goes on with, but for the report that it leaves (which no profile can forbid), and allocates nothing: its
 * container may kill it at any moment. Nor does it wait for anybody, or look at what it is not to have: what the agent has
 * open is closed to it before it sees its container, whose files may be links to descriptors.
 */
#define _GNU_SOURCE
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
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
#define STACK_SIZE (64u << 10)
#define CLONE_INTO_CGROUP 0x200000000ull
#define ACCOUNTS_LIMIT (64u << 10) /* of a passwd file; whoever comes later in it has no home */
#define TERMINAL_LINE 0
#define OPEN_TREE_CLONE 1
#define RESET_ON_FORK 0x40000000 /* SCHED_RESET_ON_FORK */
#define OWN_VARIABLES 3 /* PATH, HOME, TERM */
#define DEFAULT_PATH "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

/* linux/sched.h, which the static C library does not bring along */
#ifndef SYS_clone3
#define SYS_clone3 435
#endif
#ifndef SYS_close_range
#define SYS_close_range 436
#endif
struct clone_arguments {
    uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup;
};

/* What the process is to become, and what has come of it. */
struct birth {
    const struct launch *launch;
    bool first;
    const char **environment;
    int namespaces; /* the container's, by its first process; -1 if it is the first */
    int socket;     /* takes a terminal to the agent */
    bool failed;
    struct failure failure;
};

static int own_processes = -1;

/* Beyond the quota. It counts the time that the host does not give the machine as well: on a busy host, what executing a
 * program takes is worth minutes of a small quota, and the agent would stand still for as long. A real-time process is
 * not held to it. The agent is above the process, so that it takes the priority back before the program runs, and what
 * the program starts never has it. By hand, because the C library only pretends. */
enum priority { OF_A_PROGRAM, OF_A_BIRTH, OF_A_WITNESS };

static void set_priority(pid_t pid, enum priority priority) {
    const int policy = priority == OF_A_PROGRAM ? SCHED_OTHER : SCHED_FIFO;
    const int fresh = priority == OF_A_BIRTH ? RESET_ON_FORK : 0;
    const struct sched_param level = {.sched_priority = (int)priority};
    syscall(SYS_sched_setscheduler, pid, policy | fresh, &level);
}

static void send_terminal(int socket, int master) {
    char nothing = 0;
    struct iovec part = {.iov_base = &nothing, .iov_len = 1};
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &master, sizeof master);
    while (sendmsg(socket, &message, MSG_NOSIGNAL) < 0 && errno == EINTR) {
    }
}

static int receive_terminal(int socket) {
    char nothing;
    int master = -1;
    struct iovec part = {.iov_base = &nothing, .iov_len = 1};
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
    ssize_t got = recvmsg(socket, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    struct cmsghdr *header = got > 0 ? CMSG_FIRSTHDR(&message) : NULL;
    if (header && header->cmsg_type == SCM_RIGHTS)
        memcpy(&master, CMSG_DATA(header), sizeof master);
    return master;
}

static void give_up(struct birth *birth) {
    birth->failed = true;
    /* Not _exit, which tries for ever: a profile may forbid to end, and the agent waits for us. */
    syscall(SYS_exit_group, 127);
    __builtin_trap();
}

/* In the container's root: the master goes to the agent, the other side becomes the controlling terminal. */
static bool open_terminal(const struct launch *launch, bool first, struct failure *failure) {
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
        /* A convenience that some images lack the place for (a read-only /dev): not worth refusing them. */
        int console = (int)syscall(SYS_open_tree, slave, "", OPEN_TREE_CLONE | AT_EMPTY_PATH | O_CLOEXEC);
        if (console >= 0)
            (void)move_tree(console, "/dev/console", failure);
    }
    if (fchown(slave, launch->user, (gid_t)-1) && errno != EROFS)
        return failed(failure, "give the terminal to user %u", launch->user);
    if (ioctl(slave, TIOCSCTTY, 0))
        return failed(failure, "take the terminal");
    send_terminal(TERMINAL_LINE, master);
    close(master);
    for (int standard = 0; standard < 3; standard++)
        if (dup2(slave, standard) < 0)
            return failed(failure, "use the terminal");
    if (slave > 2)
        close(slave);
    return true;
}

/* The three standard streams, or in place of the first one the way that a terminal goes to the agent, are all of the
 * agent's descriptors that are left open. */
static bool keep_streams(const struct launch *launch, int socket, struct failure *failure) {
    bool kept = launch->terminal ? dup2(socket, TERMINAL_LINE) == TERMINAL_LINE
                                 : dup2(launch->input, 0) == 0 && dup2(launch->output, 1) == 1 && dup2(launch->error, 2) == 2;
    return (kept && syscall(SYS_close_range, 3u, ~0u, 0u) == 0) || failed(failure, "connect the standard streams");
}

/* First what container engines give to every container: programs close all descriptors up to the soft limit, and
 * servers raise it to the hard one. */
static bool set_limits(const struct launch *launch, struct failure *failure) {
    struct rlimit files = {.rlim_cur = 1024, .rlim_max = MOST_FILES};
    if (setrlimit(RLIMIT_NOFILE, &files))
        return failed(failure, "set the limit of open files");
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

/* Of several values the last one counts. */
static void set_variable(const char **environment, const char *variable) {
    size_t name = strcspn(variable, "=") + 1;
    while (*environment && strncmp(*environment, variable, name))
        environment++;
    *environment = variable;
}

static bool has_variable(const char **environment, const char *name_and_equals) {
    while (*environment && strncmp(*environment, name_and_equals, strlen(name_and_equals)))
        environment++;
    return *environment;
}

/* The home directory of the image's own passwd file, as every container runtime sets it when nobody else did. */
static const char *home_of(uint32_t user) {
    static char accounts[ACCOUNTS_LIMIT], home[512];
    char *rest = accounts, *line;
    strcpy(home, user == 0 ? "HOME=/root" : "HOME=/");
    if (read_foreign_file("/etc/passwd", accounts, sizeof accounts) < 0)
        return home;
    while ((line = strsep(&rest, "\n"))) {
        char *fields[6] = {0};
        for (int i = 0; i < 6; i++)
            fields[i] = strsep(&line, ":");
        if (fields[5] && *fields[2] && strtoul(fields[2], NULL, 10) == user) {
            snprintf(home, sizeof home, "HOME=%s", fields[5]);
            break;
        }
    }
    return home;
}

static void set_environment(const struct birth *birth) {
    const char **environment = birth->environment;
    set_variable(environment, DEFAULT_PATH);
    for (const char **variable = birth->launch->environment; *variable; variable++)
        if (strchr(*variable, '='))
            set_variable(environment, *variable);
    if (!has_variable(environment, "HOME="))
        set_variable(environment, home_of(birth->launch->user));
    if (birth->launch->terminal && !has_variable(environment, "TERM="))
        set_variable(environment, "TERM=xterm");
    environ = (char **)environment;
}

static void reset_signals(void) {
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
}

/* The first process makes the container's namespaces (those of processes and mounts it was born into). */
static bool enter_namespaces(const struct birth *birth, struct failure *failure) {
    if (birth->first)
        return unshare(CLONE_NEWCGROUP) == 0 || failed(failure, "make namespaces");
    return setns(birth->namespaces, CLONE_NEWNS | CLONE_NEWCGROUP) == 0 ||
           failed(failure, "join the container's namespaces");
}

static bool is_program(const char *path) {
    struct stat there;
    if (stat(path, &there))
        return false;
    errno = EACCES;
    return S_ISREG(there.st_mode) && access(path, X_OK) == 0;
}

/* The file that the first argument names, looked for as execvp(3) does, but without trying to execute what is not there:
 * for each try the kernel makes an address space first. NULL: there is none, and errno says why. */
static const char *find_program(const char *name) {
    static char path[PATH_MAX];
    int number = ENOENT;
    if (strchr(name, '/') || !*name)
        return name;
    for (const char *place = getenv("PATH"), *end; place; place = *end ? end + 1 : NULL) {
        end = place + strcspn(place, ":");
        int length = snprintf(path, sizeof path, "%.*s%s%s", (int)(end - place), place, end > place ? "/" : "", name);
        if (length >= (int)sizeof path)
            continue;
        if (is_program(path))
            return path;
        if (errno == EACCES)
            number = EACCES;
    }
    errno = number;
    return NULL;
}

static void become(void *argument) {
    struct birth *birth = argument;
    const struct launch *launch = birth->launch;
    struct failure *failure = &birth->failure;
    if (launch->container->has_quota)
        set_priority(0, OF_A_BIRTH);
    umask(022);
    setsid();
    if (!enter_namespaces(birth, failure) || !keep_streams(launch, birth->socket, failure) ||
        (birth->first && !container_enter_root(launch->container, failure)) ||
        (launch->terminal && !open_terminal(launch, birth->first, failure)))
        give_up(birth);
    if (birth->first)
        make_directories(launch->directory, 0755);
    if (!set_limits(launch, failure))
        give_up(birth);
    if (chdir(launch->directory)) {
        failed(failure, "chdir to %s", launch->directory);
        give_up(birth);
    }
    set_environment(birth);
    if (!become_user(launch, failure))
        give_up(birth);
    reset_signals();
    const char *program = find_program(launch->arguments[0]);
    int number = errno;
    if (!filter_calls(launch->container, failure))
        give_up(birth);
    if (program)
        execv(program, (char *const *)launch->arguments);
    else
        errno = number;
    failed(failure, "exec %.200s", launch->arguments[0]);
    give_up(birth);
}

/* Returns when the process has executed a program, or ended. -1: there is none. */
static pid_t clone_standing_still(uint64_t flags, int cgroup, struct birth *birth) {
    static uint8_t stack[STACK_SIZE] __attribute__((aligned(16)));
    struct clone_arguments arguments = {.flags = flags | CLONE_VM | CLONE_VFORK | CLONE_INTO_CGROUP,
                                        .exit_signal = SIGCHLD,
                                        .stack = (uintptr_t)stack,
                                        .stack_size = sizeof stack,
                                        .cgroup = (uint64_t)cgroup};
    register void (*run)(void *) __asm__("r12") = become;
    register void *argument __asm__("r13") = birth;
    long pid;
    /* By hand, because the process begins on a stack on which nothing can return. */
    __asm__ volatile("syscall\n"
                     "test %%rax, %%rax\n"
                     "jnz 1f\n"
                     "xor %%ebp, %%ebp\n"
                     "mov %%r13, %%rdi\n"
                     "call *%%r12\n"
                     "ud2\n"
                     "1:"
                     : "=a"(pid)
                     : "a"(SYS_clone3), "D"(&arguments), "S"(sizeof arguments), "r"(run), "r"(argument)
                     : "rcx", "r11", "memory");
    if (pid < 0)
        errno = (int)-pid;
    return pid < 0 ? -1 : (pid_t)pid;
}

/* What we start is born into the process namespace of `process`, a descriptor; our own is given back by the same way. */
static bool bear_children_in(int process, struct failure *failure) {
    return setns(process, CLONE_NEWPID) == 0 || failed(failure, "join the container's namespaces");
}

static pid_t start(struct birth *birth, int cgroup) {
    struct failure *failure = &birth->failure;
    const uint64_t made = birth->first ? CLONE_NEWNS | CLONE_NEWPID : 0;
    if (birth->namespaces >= 0 && !bear_children_in(birth->namespaces, failure))
        return -1;
    char **ours = environ;
    const bool has_quota = birth->launch->container->has_quota;
    if (has_quota)
        set_priority(0, OF_A_WITNESS);
    pid_t pid = clone_standing_still(made, cgroup, birth);
    if (has_quota && pid > 0)
        set_priority(pid, OF_A_PROGRAM);
    if (has_quota)
        set_priority(0, OF_A_PROGRAM);
    environ = ours;
    if (pid < 0)
        failed(failure, "fork");
    if (birth->namespaces >= 0 && !bear_children_in(own_processes, failure))
        abort(); /* the machine ends: from now on everything would be born in the wrong place */
    return birth->failed ? -1 : pid;
}

static bool open_all(struct birth *birth, int *cgroup, int *terminal, struct failure *failure) {
    const struct container *container = birth->launch->container;
    int ends[2];
    if ((*cgroup = cgroup_open(container->id)) < 0)
        return failed(failure, "enter cgroup %.80s", container->id);
    if (!birth->first && (birth->namespaces = (int)syscall(SYS_pidfd_open, container->first, 0)) < 0)
        return failed(failure, "join the container's namespaces");
    if (!birth->launch->terminal)
        return true;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends))
        return failed(failure, "socketpair");
    *terminal = ends[0];
    birth->socket = ends[1];
    return true;
}

static void close_if_open(int descriptor) {
    if (descriptor >= 0)
        close(descriptor);
}

static uint32_t count_of(const char **texts) {
    uint32_t count = 0;
    while (texts[count])
        count++;
    return count;
}

bool spawn_prepare(struct failure *failure) {
    /* A process that has the container's user and rights already, but our memory still, would be traced by any other one
     * of that user: what is not dumpable is not. The program that it executes is again. */
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0))
        return failed(failure, "keep our memory to ourselves");
    own_processes = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);
    return own_processes >= 0 || failed(failure, "find our own namespaces");
}

pid_t spawn(const struct launch *launch, int *terminal, struct failure *failure) {
    struct birth birth = {.launch = launch, .first = !launch->container->started, .namespaces = -1, .socket = -1};
    int cgroup = -1, line = -1;
    pid_t pid = -1;
    birth.environment = calloc(count_of(launch->environment) + OWN_VARIABLES + 1, sizeof *birth.environment);
    if (!birth.environment)
        failed(failure, "start a process");
    else if (open_all(&birth, &cgroup, &line, failure) && (pid = start(&birth, cgroup)) < 0)
        *failure = birth.failure;
    *terminal = line >= 0 ? receive_terminal(line) : -1;
    if (pid < 0) {
        close_if_open(*terminal);
        *terminal = -1;
    }
    close_if_open(line);
    close_if_open(birth.socket);
    close_if_open(birth.namespaces);
    close_if_open(cgroup);
    free(birth.environment);
    return pid;
}
