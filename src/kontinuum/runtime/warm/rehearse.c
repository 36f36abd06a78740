/* What a machine runs once before its pod is known: a little of all that first processes do, so that the second time is
 * the pod's. Leaves nothing: no file, no process, no socket that lingers. Says so on standard output.
 *
 * Build: musl-gcc -static -Os -Wall -Wextra -Werror rehearse.c -o rehearse
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MEMORY (1 << 20)

static void die(const char *doing) {
    perror(doing);
    exit(1);
}

static void read_files(void) {
    static const char *const paths[] = {"/proc/self/status", "/proc/mounts", "/dev/urandom", "/rehearse"};
    static char room[4096];
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        int file = open(paths[i], O_RDONLY | O_CLOEXEC);
        if (file < 0 || read(file, room, sizeof room) <= 0)
            die(paths[i]);
        close(file);
    }
}

static void write_a_file(void) {
    int file = open("/written", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (file < 0 || write(file, "rehearsed\n", 10) != 10 || close(file) || rename("/written", "/renamed") ||
        unlink("/renamed"))
        die("write a file");
}

static void use_memory(void) {
    char *room = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (room == MAP_FAILED)
        die("mmap");
    memset(room, 1, MEMORY);
    munmap(room, MEMORY);
}

/* Closed by reset: a connection that lingers would keep its port from the pod for a minute. */
static void close_hard(int connection) {
    struct linger at_once = {.l_onoff = 1};
    setsockopt(connection, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    close(connection);
}

static void speak_with_ourselves(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    char word[8];
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), near = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0 || near < 0 || bind(listener, (struct sockaddr *)&address, size) || listen(listener, 1) ||
        getsockname(listener, (struct sockaddr *)&address, &size) || connect(near, (struct sockaddr *)&address, size))
        die("connect");
    int far = accept(listener, NULL, NULL);
    if (far < 0 || write(near, "hello", 5) != 5 || read(far, word, sizeof word) != 5)
        die("speak");
    close_hard(near);
    close_hard(far);
    close(listener);
}

static void start_another(const char *program) {
    pid_t child = fork();
    if (child == 0) {
        execl(program, program, "again", NULL);
        _exit(127);
    }
    int status = 1;
    if (child < 0 || waitpid(child, &status, 0) != child || status)
        die("start another");
}

int main(int argc, char **argv) {
    struct timespec moment = {.tv_nsec = 1000000};
    (void)argv;
    if (argc > 1)
        return 0;
    read_files();
    write_a_file();
    use_memory();
    speak_with_ourselves();
    start_another("/rehearse");
    nanosleep(&moment, NULL);
    puts("rehearsed");
    return 0;
}
