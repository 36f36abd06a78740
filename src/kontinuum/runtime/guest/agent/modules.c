/* Kernel modules, in the order that the maker of the initramfs worked out. Loaded once; then their files are only memory. */
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static void load(const char *name) {
    char path[160];
    snprintf(path, sizeof path, "/modules/%s", name);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0 || (syscall(SYS_finit_module, file, "", 0) && errno != EEXIST))
        say("module %s: %s", name, strerror(errno));
    if (file >= 0)
        close(file);
    unlink(path);
}

void load_modules(void) {
    char order[4096], *rest = order, *name;
    read_file("/modules/order", order, sizeof order);
    while ((name = strsep(&rest, "\n")))
        if (*name)
            load(name);
}
