/* Processes: started, told of, signalled, and forgotten when they have ended and what they wrote is on its way. */
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

struct process {
    struct process *next;
    struct container *container;
    uint32_t handle;
    pid_t pid;
    bool ended, terminal;
    struct stream streams[STREAMS];
};

static struct process *processes;
static int nothing = -1; /* /dev/null */

bool process_prepare(struct failure *failure) {
    nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
    return nothing >= 0 || failed(failure, "open /dev/null");
}

static struct process *find(uint32_t handle) {
    struct process *one = processes;
    while (one && one->handle != handle)
        one = one->next;
    return one;
}

/* A process is forgotten when it has ended and everything it wrote is on its way. */
static void forget_if_over(void *owner) {
    struct process *process = owner;
    if (!process->ended || stream_is_open(&process->streams[OUTPUT]) || stream_is_open(&process->streams[ERROR]))
        return;
    struct process **link = &processes;
    while (*link != process)
        link = &(*link)->next;
    *link = process->next;
    stream_close(&process->streams[INPUT]);
    free(process);
}

bool process_signal(uint32_t handle, int number, bool whole, struct failure *failure) {
    struct process *process = find(handle);
    errno = ESRCH;
    if (process && !process->ended && (whole ? cgroup_signal(process->container->id, number) : !kill(process->pid, number)))
        return true;
    return failed(failure, "signal %d", number);
}

bool process_resize(uint32_t handle, uint32_t rows, uint32_t columns, struct failure *failure) {
    struct process *process = find(handle);
    struct winsize size = {.ws_row = (unsigned short)rows, .ws_col = (unsigned short)columns};
    errno = process ? ENOTTY : ESRCH;
    if (process && process->terminal && stream_is_open(&process->streams[OUTPUT]) &&
        ioctl(process->streams[OUTPUT].source.descriptor, TIOCSWINSZ, &size) == 0)
        return true;
    return failed(failure, "resize the terminal");
}

static void ended(struct process *process, int status) {
    struct container *container = process->container;
    uint32_t code = WIFEXITED(status) ? (uint32_t)WEXITSTATUS(status) : 128u + (uint32_t)WTERMSIG(status);
    bool out_of_memory = code == 128 + SIGKILL && cgroup_oom_kills(container->id) > 0;
    process->ended = true;
    if (container->first == process->pid)
        container->first = 0;
    uint8_t *room = port_room(KIND_EXIT, 0, process->handle, 5);
    write_u32(room, code);
    room[4] = out_of_memory;
    port_send(5);
    forget_if_over(process);
}

/* The first process adopts every orphan, so most numbers here mean nothing to us. */
void process_reap(void) {
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        struct process *process = processes;
        while (process && (process->pid != pid || process->ended))
            process = process->next;
        if (process)
            ended(process, status);
    }
}

bool process_is_left(const struct container *container) {
    struct process *one = processes;
    while (one && (one->ended || one->container != container))
        one = one->next;
    return one;
}

static void read_launch(struct launch *launch, struct reader *reader, bool *wants_input) {
    uint32_t count;
    launch->container = container_find(read_text(reader));
    launch->arguments = read_texts(reader, &count);
    reader->bad |= count == 0;
    launch->environment = read_texts(reader, &count);
    launch->directory = read_text(reader);
    launch->user = read_u32(reader);
    launch->group = read_u32(reader);
    launch->group_count = read_count(reader, 4);
    launch->groups = calloc(launch->group_count + 1, sizeof *launch->groups);
    for (uint32_t i = 0; launch->groups && i < launch->group_count; i++)
        launch->groups[i] = read_u32(reader);
    launch->capabilities = read_u64(reader);
    launch->no_new_privileges = read_u8(reader);
    launch->terminal = read_u8(reader);
    launch->rows = read_u32(reader);
    launch->columns = read_u32(reader);
    *wants_input = read_u8(reader);
    launch->limit_count = read_count(reader, 20);
    launch->limits = calloc(launch->limit_count + 1, sizeof *launch->limits);
    for (uint32_t i = 0; launch->limits && i < launch->limit_count; i++)
        launch->limits[i] =
            (struct limit){.resource = read_u32(reader), .soft = read_u64(reader), .hard = read_u64(reader)};
    reader->bad |= !launch->groups || !launch->limits;
}

static void free_launch(struct launch *launch) {
    free(launch->arguments);
    free(launch->environment);
    free(launch->groups);
    free(launch->limits);
}

/* Our ends in `ours`, the program's in the launch. A stream that is not wanted is -1 with us. */
static bool make_pipes(struct launch *launch, bool wants_input, int ours[STREAMS], struct failure *failure) {
    int input[2] = {-1, -1}, output[2] = {-1, -1}, error[2] = {-1, -1};
    bool made = wants_input ? pipe2(input, O_CLOEXEC) == 0 : (input[0] = fcntl(nothing, F_DUPFD_CLOEXEC, 3)) >= 0;
    made = made && pipe2(output, O_CLOEXEC) == 0 && pipe2(error, O_CLOEXEC) == 0;
    if (!made)
        failed(failure, "make pipes");
    launch->input = input[0];
    launch->output = output[1];
    launch->error = error[1];
    ours[INPUT] = input[1];
    ours[OUTPUT] = output[0];
    ours[ERROR] = error[0];
    return made;
}

static void close_all(const int *descriptors, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (descriptors[i] >= 0)
            close(descriptors[i]);
}

static void register_process(struct process *process, const int descriptors[STREAMS]) {
    process->next = processes;
    processes = process;
    for (int number = 0; number < STREAMS; number++) {
        process->streams[number] = (struct stream){.handle = process->handle,
                                                   .number = (uint8_t)number,
                                                   .is_terminal = process->terminal,
                                                   .over = forget_if_over,
                                                   .owner = process};
        stream_open(&process->streams[number], descriptors[number]);
    }
}

static struct process *launch_process(uint32_t handle, struct launch *launch, bool wants_input,
                                      struct failure *failure) {
    int ours[STREAMS] = {-1, -1, -1}, terminal = -1;
    struct process *process = calloc(1, sizeof *process);
    launch->input = launch->output = launch->error = -1;
    if (!process) {
        failed(failure, "start a process");
        return NULL;
    }
    bool ready = launch->terminal || make_pipes(launch, wants_input, ours, failure);
    process->pid = ready ? spawn(launch, &terminal, failure) : -1;
    close_all((int[]){launch->input, launch->output, launch->error}, 3);
    if (process->pid < 0) {
        close_all(ours, STREAMS);
        free(process);
        return NULL;
    }
    if (launch->terminal) {
        /* Two descriptors of one master, because input and output are watched apart. */
        ours[INPUT] = fcntl(terminal, F_DUPFD_CLOEXEC, 3);
        ours[OUTPUT] = terminal;
    }
    process->handle = handle;
    process->terminal = launch->terminal;
    process->container = launch->container;
    register_process(process, ours);
    return process;
}

bool process_start(const struct frame *frame, pid_t *pid, struct failure *failure) {
    struct launch launch = {0};
    struct reader reader = reader_of(frame);
    bool wants_input;
    read_launch(&launch, &reader, &wants_input);
    struct container *container = launch.container;
    errno = EBADMSG;
    bool sound = read_whole(&reader) && !find(frame->id);
    if (!sound)
        failed(failure, "start a process");
    errno = ESRCH;
    if (sound && (!container || (container->started && !container->first)))
        sound = failed(failure, "the container is not running");
    struct process *process = sound ? launch_process(frame->id, &launch, wants_input, failure) : NULL;
    free_launch(&launch);
    if (!process)
        return false;
    if (!container->started) {
        container->started = true;
        container->first = process->pid;
    }
    *pid = process->pid;
    return true;
}
