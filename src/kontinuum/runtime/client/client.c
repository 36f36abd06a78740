/* containerd-shim-kontinuum-v1: what containerd executes for `start` and `delete`.
 *
 * It only carries words: arguments, working directory, environment and standard input go to the warm parent, the
 * answer comes back. That takes a millisecond, where starting an interpreter would take a hundred. If no parent
 * listens, it starts one, as the file <socket>.start says that the last one wrote: its arguments, each ended by a zero
 * byte. The lock on that file lets one of many clients do it.
 *
 * Where the parent listens is told by KONTINUUM_SHIM_SOCKET, else by the file that is called as we are and .socket.
 *
 * To the parent:   COUNT of arguments, the arguments, working directory, COUNT of variables, NAME=value ...; each ended
 *                  by a zero byte. Then standard input up to its end.
 * From the parent: one byte of exit status, then what is to be printed. Nothing is ever printed to standard error
 *                  on success, because containerd reads both streams as one answer.
 *
 * Build: musl-gcc -static -Os -Wall -Wextra -Werror client.c -o containerd-shim-kontinuum-v1
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define DEFAULT_SOCKET "/run/kontinuum/shim.sock"
#define BESIDE ".socket"
#define REQUEST_LIMIT (1 << 20)
#define PARENT_ARGUMENTS 32
#define PARENT_SECONDS 15
#define POLL_MILLISECONDS 5

static const char *RELAYED[] = {"TTRPC_ADDRESS", "GRPC_ADDRESS", "MAX_SHIM_VERSION", "KONTINUUM_SHIM_SOCKET"};

static char request[REQUEST_LIMIT];
static size_t used;

static int fail(const char *what, const char *about) {
    fprintf(stderr, "containerd-shim-kontinuum-v1: %s%s%s%s%s\n", what, about ? " " : "", about ? about : "",
            errno ? ": " : "", errno ? strerror(errno) : "");
    return 1;
}

static bool add(const char *text, size_t length) {
    if (length > sizeof request - used)
        return false;
    memcpy(request + used, text, length);
    used += length;
    return true;
}

static bool add_word(const char *word) { return add(word, strlen(word) + 1); }

static bool add_number(size_t number) {
    char text[24];
    snprintf(text, sizeof text, "%zu", number);
    return add_word(text);
}

static bool add_variables(void) {
    size_t count = sizeof RELAYED / sizeof *RELAYED, set = 0;
    for (size_t i = 0; i < count; i++)
        set += getenv(RELAYED[i]) != NULL;
    if (!add_number(set))
        return false;
    for (size_t i = 0; i < count; i++) {
        const char *value = getenv(RELAYED[i]);
        if (value && !(add(RELAYED[i], strlen(RELAYED[i])) && add("=", 1) && add_word(value)))
            return false;
    }
    return true;
}

static bool add_input(void) {
    ssize_t count;
    while ((count = read(STDIN_FILENO, request + used, sizeof request - used)) > 0)
        used += (size_t)count;
    return count == 0 && used < sizeof request;
}

static bool make_request(int argc, char **argv) {
    char directory[4096];
    if (!getcwd(directory, sizeof directory) || !add_number((size_t)argc - 1))
        return false;
    for (int i = 1; i < argc; i++)
        if (!add_word(argv[i]))
            return false;
    return add_word(directory) && add_variables() && add_input();
}

static int dial(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    strcpy(address.sun_path, path);
    int line = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (line >= 0 && connect(line, (struct sockaddr *)&address, sizeof address) == 0)
        return line;
    int reason = errno;
    close(line);
    errno = reason;
    return -1;
}

/* Run the parent as the words in `words` say, detached from us and from containerd. */
static void spawn_parent(char *words, size_t length) {
    char *argv[PARENT_ARGUMENTS + 1];
    size_t count = 0;
    for (size_t i = 0; i < length && count < PARENT_ARGUMENTS; i += strlen(words + i) + 1)
        argv[count++] = words + i;
    argv[count] = NULL;
    pid_t child = fork();
    if (child != 0)
        return;
    setsid();
    if (fork() != 0)
        _exit(0);
    signal(SIGPIPE, SIG_DFL);
    int nothing = open("/dev/null", O_RDWR);
    for (int i = 0; i < 3; i++)
        dup2(nothing, i);
    if (chdir("/") == 0)
        execv(argv[0], argv);
    _exit(127);
}

/* Start a parent and wait until it listens, unless somebody else did both while we waited for the lock. */
static int revive(const char *socket_path) {
    static char path[4200], words[8192];
    snprintf(path, sizeof path, "%s.start", socket_path);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0 || flock(file, LOCK_EX) != 0)
        return -1;
    int line = dial(socket_path);
    ssize_t length = line < 0 ? read(file, words, sizeof words - 1) : 0;
    if (length > 0)
        spawn_parent(words, (size_t)length);
    struct timespec pause = {0, POLL_MILLISECONDS * 1000000L};
    for (int i = 0; line < 0 && length > 0 && i < PARENT_SECONDS * 1000 / POLL_MILLISECONDS; i++) {
        nanosleep(&pause, NULL);
        line = dial(socket_path);
    }
    int reason = errno;
    close(file);
    errno = reason;
    return line;
}

static bool send_all(int line) {
    for (size_t sent = 0; sent < used;) {
        ssize_t count = write(line, request + sent, used - sent);
        if (count <= 0)
            return false;
        sent += (size_t)count;
    }
    return shutdown(line, SHUT_WR) == 0;
}

/* The first line of the file beside us: an installation into somebody else's containerd, whose environment is not ours. */
static const char *written_beside(void) {
    static char name[4096 + sizeof BESIDE], path[256];
    ssize_t length = readlink("/proc/self/exe", name, 4096);
    if (length <= 0)
        return NULL;
    strcpy(name + length, BESIDE);
    int file = open(name, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return NULL;
    length = read(file, path, sizeof path - 1);
    close(file);
    path[length > 0 ? length : 0] = '\0';
    path[strcspn(path, "\n")] = '\0';
    return path;
}

int main(int argc, char **argv) {
    const char *path = getenv("KONTINUUM_SHIM_SOCKET");
    if (!path || !*path)
        path = written_beside();
    if (!path || !*path)
        path = DEFAULT_SOCKET;
    signal(SIGPIPE, SIG_IGN);
    if (!make_request(argc, argv))
        return fail("the request cannot be read or is too long", NULL);
    int line = dial(path);
    if (line < 0)
        line = revive(path);
    if (line < 0)
        return fail("no warm parent listens, and none could be started, at", path);
    errno = 0;
    unsigned char status = 1;
    if (!send_all(line) || read(line, &status, 1) != 1)
        return fail("the warm parent hung up", NULL);
    static char answer[65536];
    ssize_t count;
    while ((count = read(line, answer, sizeof answer)) > 0)
        if (write(status ? STDERR_FILENO : STDOUT_FILENO, answer, (size_t)count) != count)
            return 1;
    return status;
}
