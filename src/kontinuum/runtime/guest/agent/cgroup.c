/* One control group (version 2) per container: limits, usage, and the certainty that killing it leaves nothing. */
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ROOT "/sys/fs/cgroup"
#define CPU_PERIOD_MICROSECONDS 100000
#define SPARE ".spare" /* no container's name begins so */

/* The first container moves into a group that a template has made already. */
static char tenant[256];
static bool spare_is_free;

static const char *path_of(const char *id, const char *file) {
    static char path[512];
    if (*tenant && !strcmp(id, tenant))
        id = SPARE;
    snprintf(path, sizeof path, ROOT "/%s%s%s", id, *file ? "/" : "", file);
    return path;
}

static bool make(const char *id) {
    if (mkdir(path_of(id, ""), 0755))
        return false;
    /* A container whose memory ran out ends as a whole, as the kubelet has it; half a container helps nobody. */
    write_file(path_of(id, "memory.oom.group"), "1");
    return true;
}

bool cgroup_prepare(struct failure *failure) {
    /* One by one: a kernel without one of them should still give the others. */
    const char *const controllers[] = {"+memory", "+cpu", "+pids", "+io"};
    for (size_t i = 0; i < sizeof controllers / sizeof *controllers; i++)
        if (!write_file(ROOT "/cgroup.subtree_control", controllers[i]))
            say("cgroup controller %s: %s", controllers[i], strerror(errno));
    spare_is_free = make(SPARE);
    return spare_is_free || failed(failure, "cgroups");
}

static bool set_number(const char *id, const char *file, uint64_t value, struct failure *failure) {
    char text[32] = "max";
    if (value)
        snprintf(text, sizeof text, "%" PRIu64, value);
    return write_file(path_of(id, file), text) || failed(failure, "%s of %.80s", file, id);
}

bool cgroup_limit(const char *id, const struct limits *limits, struct failure *failure) {
    char cpu[64] = "max";
    if (limits->cpu_quota_microseconds)
        snprintf(cpu, sizeof cpu, "%" PRIu64 " %d", limits->cpu_quota_microseconds, CPU_PERIOD_MICROSECONDS);
    if (!write_file(path_of(id, "cpu.max"), cpu))
        return failed(failure, "cpu.max of %.80s", id);
    return set_number(id, "memory.max", limits->memory_bytes, failure) &&
           set_number(id, "pids.max", limits->pids, failure);
}

bool cgroup_make(const char *id, const struct limits *limits, struct failure *failure) {
    if (spare_is_free && strlen(id) < sizeof tenant) {
        strcpy(tenant, id);
        spare_is_free = false;
    } else if (!make(id))
        return failed(failure, "make cgroup %.80s", id);
    bool limited = limits->memory_bytes || limits->cpu_quota_microseconds || limits->pids;
    return !limited || cgroup_limit(id, limits, failure);
}

int cgroup_open(const char *id) {
    return open(path_of(id, ""), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

ssize_t cgroup_processes(const char *id, char *buffer, size_t size) {
    return read_file(path_of(id, "cgroup.procs"), buffer, size);
}

bool cgroup_signal(const char *id, int number) {
    if (number == SIGKILL)
        return write_file(path_of(id, "cgroup.kill"), "1");
    static char listing[64 << 10];
    char *rest = listing, *word;
    bool sent = false;
    if (cgroup_processes(id, listing, sizeof listing) < 0)
        return false;
    while ((word = strsep(&rest, "\n")))
        if (atoi(word) > 1)
            sent |= kill(atoi(word), number) == 0;
    return sent;
}

uint64_t cgroup_value(const char *id, const char *file, const char *key) {
    static char text[8192];
    if (read_file(path_of(id, file), text, sizeof text) < 0)
        return 0;
    if (!*key)
        return strtoull(text, NULL, 10);
    size_t length = strlen(key);
    char *rest = text, *line;
    while ((line = strsep(&rest, "\n")))
        if (!strncmp(line, key, length) && line[length] == ' ')
            return strtoull(line + length + 1, NULL, 10);
    return 0;
}

bool cgroup_is_empty(const char *id) {
    return cgroup_value(id, "cgroup.events", "populated") == 0;
}

uint64_t cgroup_oom_kills(const char *id) {
    return cgroup_value(id, "memory.events", "oom_kill");
}

void cgroup_remove(const char *id) {
    if (rmdir(path_of(id, "")) && errno != ENOENT)
        say("cgroup %s: %s", id, strerror(errno));
    if (!strcmp(id, tenant))
        *tenant = 0;
}
