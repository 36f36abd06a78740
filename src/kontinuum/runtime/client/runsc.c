/* kontinuum-runsc: lets containerd's shim for runc drive gVisor, where gVisor's own shim is not installed.
 *
 * io.containerd.runc.v2 executes an OCI runtime by runc's command line. runsc understands that line, but differs in
 * a few ways, each mended here; every other command is passed on as it is.
 *
 *   create   runsc's pid file names the sandbox's process for every container in it, and the shim would never see one
 *            of them end. So each container gets a waiter, a child of the shim, whose end is the container's.
 *            It also is what names the container's process namespace for others.
 *   start    runsc gives a container the standard streams of `start`, runc those of `create`. The waiter holds those
 *            of `create`, so it is the waiter who starts the container:
 *
 *                create ──forks──▶ waiter:  listening ──"start"──▶ runsc start ──▶ runsc wait ──▶ exits with its status
 *                                               └──"end"──▶ exits with 137
 *
 *            Before it starts a sandbox, runsc of 2022 looks for net.core.rmem_default to tell whether it is in the
 *            host's network. Kernels from 6.10 on show that everywhere, so it is hidden meanwhile.
 *   kill     The shim knows only runc's words for "it has ended already". And runsc kills nothing that was not started:
 *            of a container there is then its waiter, which has ended if the start has failed; of a sandbox, its process.
 *            To refuse would be final: containerd kills what could not be started once, and never lets go of a task that
 *            it could not kill.
 *   delete   With --force, runc is content if there is nothing to delete.
 *   update   Limits are the pod's cgroup's, which the node agent has changed: there is nothing left to do.
 *
 * A pod of the host's network (its specification has no network namespace) uses the host's network stack, not gVisor's.
 *
 * Build: musl-gcc -static -Os -Wall -Wextra -Werror runsc.c -o kontinuum-runsc
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define MOST_ARGUMENTS 64
#define MOST_OUTPUT 4096
#define LOOK_MILLISECONDS 1000
#define KILLED (128 + SIGKILL)
#define DOOR "kontinuum-start.sock"

/* Options whose next word is their value, as go-runc writes them. */
static const char *WITH_VALUE[] = {"--root", "--log", "--log-format", "--bundle", "--pid-file", "--console-socket",
                                   "--process", "--resources", "--user", "--format"};
static const char *HIERARCHIES[] = {"", "/memory", "/cpu", "/cpuacct", "/pids", "/blkio"};

static struct {
    char *arguments[MOST_ARGUMENTS]; /* runsc's: program, our own flags, then what we were called with */
    int globals;                     /* how many of them come before the command */
    int network;                     /* which of them names the network */
    const char *command, *id, *signal;
    char *bundle, *pid_file;
    bool is_forced, has_terminal;
} call;

static char *configuration = ""; /* the bundle's config.json */

static int fail(const char *what) {
    fprintf(stderr, "kontinuum-runsc: %s: %s\n", what, strerror(errno));
    return 1;
}

/* -- what is asked */

static bool takes_value(const char *word) {
    for (size_t i = 0; i < sizeof WITH_VALUE / sizeof *WITH_VALUE; i++)
        if (!strcmp(word, WITH_VALUE[i]))
            return true;
    return false;
}

static bool understand(int count, char **words) {
    int used = 0;
    char *program = getenv("KONTINUUM_RUNSC"), *platform = getenv("KONTINUUM_SANDBOX_PLATFORM");
    call.arguments[used++] = program && *program ? program : "runsc";
    if (platform && *platform && asprintf(&call.arguments[used++], "--platform=%s", platform) < 0)
        return false;
    call.arguments[used++] = "--oci-seccomp=true";
    call.network = used++; /* decided when the specification is known */
    for (int i = 1; i < count; i++) {
        if (used + 2 >= MOST_ARGUMENTS)
            return errno = E2BIG, false;
        char *word = words[i], *value = takes_value(word) && i + 1 < count ? words[i + 1] : NULL;
        if (value) {
            if (!strcmp(word, "--log") && !call.bundle)
                call.bundle = dirname(strdup(value));
            else if (!strcmp(word, "--bundle"))
                call.bundle = value;
            else if (!strcmp(word, "--pid-file"))
                call.pid_file = value;
            else if (!strcmp(word, "--console-socket"))
                call.has_terminal = true;
            call.arguments[used++] = word;
            word = value, i++;
        } else if (*word != '-' && !call.command) {
            call.command = word, call.globals = used;
        } else if (*word != '-' && !call.id) {
            call.id = word;
        } else if (*word != '-') {
            call.signal = word;
        } else if (!strcmp(word, "--force")) {
            call.is_forced = true;
        }
        call.arguments[used++] = word;
    }
    call.command = call.command ? call.command : "";
    return true;
}

/* The bundle's specification as text. What we look for in it are an object's members in Go's compact form, whose
 * quotes no string inside the document can contain unescaped. */
static void read_configuration(void) {
    struct stat status;
    int file = open("config.json", O_RDONLY | O_CLOEXEC);
    if (file < 0 || fstat(file, &status) < 0)
        return;
    char *text = calloc(1, (size_t)status.st_size + 1);
    ssize_t length = 0, piece;
    while (text && (piece = read(file, text + length, (size_t)(status.st_size - length))) > 0)
        length += piece;
    close(file);
    if (text)
        configuration = text;
}

static bool says(const char *member) { return strstr(configuration, member) != NULL; }
static bool is_sub_container(void) { return says("\"io.kubernetes.cri.container-type\":\"container\""); }

/* The value of a member that is a plain string, or "". */
static const char *member(const char *name, char *value, size_t size) {
    char pattern[80];
    snprintf(pattern, sizeof pattern, "\"%s\":\"", name);
    const char *begin = strstr(configuration, pattern);
    const char *end = begin ? strchr(begin += strlen(pattern), '"') : NULL;
    snprintf(value, size, "%.*s", end ? (int)(end - begin) : 0, begin ? begin : "");
    return value;
}

/* -- running runsc */

static void become_runsc(char **arguments) {
    execvp(arguments[0], arguments);
    fail(arguments[0]);
    _exit(127);
}

static int status_of(pid_t child) {
    int status;
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            return 1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* Run runsc; what it writes to `descriptors` (a set of 1 << n) is returned in `output` instead of being written. */
static int run_runsc(char **arguments, int descriptors, char *output) {
    int ends[2];
    if (descriptors && pipe2(ends, O_CLOEXEC) < 0)
        return fail("making a pipe");
    pid_t child = fork();
    if (child < 0)
        return fail("forking");
    if (child == 0) {
        for (int n = 1; n <= 2; n++)
            if (descriptors & 1 << n)
                dup2(ends[1], n);
        become_runsc(arguments);
    }
    if (descriptors) {
        char rest[512];
        size_t length = 0;
        ssize_t piece;
        close(ends[1]);
        while ((piece = length < MOST_OUTPUT - 1 ? read(ends[0], output + length, MOST_OUTPUT - 1 - length)
                                                 : read(ends[0], rest, sizeof rest)) > 0)
            length += length < MOST_OUTPUT - 1 ? (size_t)piece : 0;
        output[length] = 0;
        close(ends[0]);
    }
    return status_of(child);
}

/* runsc's arguments for another command about the same container. */
static char **arguments_for(const char *command) {
    static char *arguments[MOST_ARGUMENTS];
    memcpy(arguments, call.arguments, sizeof *arguments * (size_t)call.globals);
    arguments[call.globals] = (char *)command;
    arguments[call.globals + 1] = (char *)call.id;
    arguments[call.globals + 2] = NULL;
    return arguments;
}

static void silence(void) {
    int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int n = 0; n <= 2; n++)
        dup2(nothing, n);
}

/* -- the door between `start`, `kill`, `delete` and the waiter: a socket in the bundle, which is our directory */

static int door(bool is_ours) {
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = DOOR};
    int end = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int done = is_ours ? bind(end, (struct sockaddr *)&address, sizeof address)
                       : connect(end, (struct sockaddr *)&address, sizeof address);
    if (end >= 0 && (done < 0 || (is_ours && listen(end, 4) < 0))) {
        int reason = errno;
        close(end);
        errno = reason;
        return -1;
    }
    return end;
}

/* Tell the waiter; its answer's first byte is returned, -1 if nobody waits. The rest is in `said`. */
static int tell_waiter(char word, char *said, size_t size) {
    int end = door(false);
    ssize_t piece, length = 0;
    if (end < 0)
        return -1;
    if (write(end, &word, 1) == 1)
        while ((piece = read(end, said + length, size - 1 - (size_t)length)) > 0)
            length += piece;
    close(end);
    said[length] = 0;
    int code = length ? (unsigned char)said[0] : 1;
    if (length)
        memmove(said, said + 1, (size_t)length);
    return code;
}

/* -- the waiter */

/* Beside the sandbox's processes, where the shim reads the container's use and hears of its lack of memory. */
static void join_sandbox_cgroup(void) {
    char own[1024], sandbox[128], file[1400];
    member("cgroupsPath", own, sizeof own);
    member("io.kubernetes.cri.sandbox-id", sandbox, sizeof sandbox);
    if (!*own || !*sandbox)
        return;
    const char *parent = dirname(own);
    for (size_t i = 0; i < sizeof HIERARCHIES / sizeof *HIERARCHIES; i++) {
        snprintf(file, sizeof file, "/sys/fs/cgroup%s%s/%s/cgroup.procs", HIERARCHIES[i], parent, sandbox);
        int procs = open(file, O_WRONLY | O_CLOEXEC);
        if (procs >= 0 && write(procs, "0", 1) < 0)
            errno = 0; /* then its use is not seen; it runs all the same */
        if (procs >= 0)
            close(procs);
    }
}

static int wait_for_container(void) {
    char output[MOST_OUTPUT];
    const char *status;
    if (run_runsc(arguments_for("wait"), 1 << 1, output) == 0 && (status = strstr(output, "\"exitStatus\":")))
        return atoi(status + strlen("\"exitStatus\":"));
    return KILLED; /* the sandbox has ended under it, which only a signal does: for want of memory, or by hand */
}

static int wait_in_bundle(int listener) {
    char word, said[MOST_OUTPUT + 1];
    struct pollfd asked = {.fd = listener, .events = POLLIN};
    for (;;) {
        int many = poll(&asked, 1, LOOK_MILLISECONDS);
        if (many <= 0 && access(DOOR, F_OK) < 0)
            return KILLED; /* the bundle is gone, and nobody can come any more */
        if (many <= 0)
            continue;
        int end = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (end < 0 || read(end, &word, 1) != 1)
            word = 0;
        if (word == 's') {
            unlink(DOOR);
            said[0] = (char)run_runsc(arguments_for("start"), 0, NULL);
            silence(); /* or the shim would see no end of the container's output */
            if (write(end, said, 1) < 0 || said[0])
                return KILLED;
            close(end);
            return wait_for_container();
        }
        if (word == 'e') {
            unlink(DOOR);
            return KILLED;
        }
        close(end);
    }
}

/* -- commands */

/* Name the container's own process namespace by its waiter, as runc's is by its first process: who is to see this
 * container's processes is given that path (an ephemeral container with a target), and runsc compares paths. */
static bool name_process_namespace(pid_t waiter) {
    static const char OWN[] = "{\"type\":\"pid\"}";
    const char *found = strstr(configuration, OWN);
    if (!found)
        return true;
    FILE *file = fopen("config.json", "w");
    if (!file)
        return false;
    fwrite(configuration, 1, (size_t)(found - configuration), file);
    fprintf(file, "{\"type\":\"pid\",\"path\":\"/proc/%d/ns/pid\"}%s", waiter, found + strlen(OWN));
    return fclose(file) == 0;
}

static int create(void) {
    if (!is_sub_container())
        become_runsc(call.arguments);
    int listener = door(true);
    if (listener < 0)
        return fail("listening in the bundle");
    pid_t waiter = fork();
    if (waiter < 0)
        return fail("forking");
    if (waiter == 0) {
        setsid();
        if (call.has_terminal)
            silence(); /* the container has its terminal already, and the shim reads until we close these */
        join_sandbox_cgroup();
        _exit(wait_in_bundle(listener));
    }
    int code = name_process_namespace(waiter) ? run_runsc(call.arguments, 0, NULL) : fail("writing config.json");
    FILE *file = !code && call.pid_file ? fopen(call.pid_file, "w") : NULL;
    if (!code && (!file || fprintf(file, "%d", waiter) < 0 || fclose(file) < 0))
        code = fail("writing the pid file");
    if (code)
        kill(waiter, SIGKILL);
    return code;
}

static int start(void) {
    char said[MOST_OUTPUT];
    if (is_sub_container()) {
        int code = tell_waiter('s', said, sizeof said);
        return code < 0 ? fail("the container's waiter is gone") : code;
    }
    if (unshare(CLONE_NEWNS) < 0 || mount("", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("none", "/proc/sys/net", "tmpfs", 0, "size=4k") < 0)
        return fail("hiding /proc/sys/net");
    silence(); /* the sandbox's processes inherit them, and containerd reads until they close them */
    become_runsc(call.arguments);
    return 1;
}

/* End what waits to be started; answers whether it was there. */
static bool end_unstarted(void) {
    char said[MOST_OUTPUT];
    int process = 0;
    if (is_sub_container())
        return tell_waiter('e', said, sizeof said) >= 0;
    FILE *file = fopen("init.pid", "r"); /* where the shim has `create` write it */
    if (file && fscanf(file, "%d", &process) != 1)
        process = 0;
    if (file)
        fclose(file);
    return process > 1 && kill(process, SIGKILL) == 0;
}

static int kill_it(void) {
    static const char *ENDED[] = {"not running", "in state stopped", "no such", "not found"};
    char output[MOST_OUTPUT];
    int code = run_runsc(call.arguments, 1 << 1 | 1 << 2, output);
    bool is_killed = call.signal && (!strcmp(call.signal, "9") || !strcmp(call.signal, "KILL"));
    bool has_ended = is_killed && code && strstr(output, "in state created");
    if ((has_ended || (is_killed && is_sub_container())) && end_unstarted())
        return 0;
    for (size_t i = 0; i < sizeof ENDED / sizeof *ENDED; i++)
        has_ended |= code && strstr(output, ENDED[i]);
    fputs(has_ended ? "container not running\n" : output, stderr);
    return code;
}

static int delete_it(void) {
    char said[MOST_OUTPUT];
    tell_waiter('e', said, sizeof said);
    int code = run_runsc(call.arguments, 1 << 2, said);
    if (code && call.is_forced && strstr(said, "does not exist"))
        return 0;
    fputs(said, stderr);
    return code;
}

int main(int count, char **words) {
    if (!understand(count, words))
        return fail("understanding the arguments");
    if (call.bundle && chdir(call.bundle) == 0)
        read_configuration();
    bool is_host_network = *configuration && !says("{\"type\":\"network\"");
    call.arguments[call.network] = is_host_network ? "--network=host" : "--network=sandbox";
    if (!strcmp(call.command, "create"))
        return create();
    if (!strcmp(call.command, "start"))
        return start();
    if (!strcmp(call.command, "kill"))
        return kill_it();
    if (!strcmp(call.command, "delete"))
        return delete_it();
    if (!strcmp(call.command, "update"))
        return 0;
    become_runsc(call.arguments);
}
