/* What stands where Firecracker would, to try from inside what it may do: one command per connection to its API socket.
 *
 *     read PATH      the first bytes of a file, or why not
 *     write PATH     put "written" at its start
 *     tap NAME       open the tap of that name, and keep it
 *     make PATH      a new file
 *     links          the network interfaces that there are
 */
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define TUNSETIFF 0x400454ca
#define TAP 0x0002
#define NO_PACKET_INFO 0x1000
#define VNET_HEADER 0x4000

static void do_command(int line, char *words) {
    char *what = strtok(words, " \n"), *which = strtok(NULL, " \n"), content[64] = "";
    int file = -1, done = 0;
    if (!what)
        return;
    if (!strcmp(what, "read") && (file = open(which, O_RDONLY)) >= 0)
        done = read(file, content, sizeof content - 1) >= 0;
    else if (!strcmp(what, "write") && (file = open(which, O_RDWR)) >= 0)
        done = write(file, "written", 7) == 7;
    else if (!strcmp(what, "make"))
        done = (file = open(which, O_CREAT | O_EXCL | O_WRONLY, 0600)) >= 0;
    else if (!strcmp(what, "tap") && (file = open("/dev/net/tun", O_RDWR)) >= 0) {
        struct ifreq request = {.ifr_flags = TAP | NO_PACKET_INFO | VNET_HEADER};
        strncpy(request.ifr_name, which, IFNAMSIZ - 1);
        done = ioctl(file, TUNSETIFF, &request) == 0;
        file = done ? -1 : file; /* kept: a tap with nobody at it is switched off */
    } else if (!strcmp(what, "links")) {
        struct if_nameindex *all = if_nameindex();
        for (struct if_nameindex *one = all; one && one->if_index; one++)
            strncat(strncat(content, one->if_name, 16), " ", 2);
        done = all != NULL;
    }
    dprintf(line, "%s %s\n", done ? "done" : strerror(errno), content);
    if (file >= 0)
        close(file);
}

int main(int count, char **words) {
    struct sockaddr_un here = {.sun_family = AF_UNIX};
    if (count < 3 || strcmp(words[1], "--api-sock"))
        return 2;
    strncpy(here.sun_path, words[2], sizeof here.sun_path - 1);
    int door = socket(AF_UNIX, SOCK_STREAM, 0);
    if (bind(door, (struct sockaddr *)&here, sizeof here) || listen(door, 8))
        return 3;
    printf("listening\n");
    fflush(stdout);
    for (;;) {
        char command[256];
        int line = accept(door, NULL, NULL);
        ssize_t got = read(line, command, sizeof command - 1);
        if (got > 0) {
            command[got] = 0;
            do_command(line, command);
        }
        close(line);
    }
}
