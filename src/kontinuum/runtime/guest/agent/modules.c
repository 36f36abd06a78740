/* Kernel modules, in the order that the maker of the initramfs worked out. Loaded once; then their files are only memory,
 * as are from the start the files of those that this machine has no use for. */
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static void take(const char *name, bool wanted) {
    char path[160];
    snprintf(path, sizeof path, "/modules/%s", name);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (wanted && (file < 0 || (syscall(SYS_finit_module, file, "", 0) && errno != EEXIST)))
        say("module %s: %s", name, strerror(errno));
    if (file >= 0)
        close(file);
    unlink(path);
}

void take_modules(const char *order_file, bool wanted) {
    char path[160], order[4096], *rest = order, *name;
    snprintf(path, sizeof path, "/modules/%s", order_file);
    read_file(path, order, sizeof order);
    while ((name = strsep(&rest, "\n")))
        if (*name)
            take(name, wanted);
}
