/* For QEMU before 8.2: what may only be read is opened for reading.
 *
 * QEMU maps a clone's memory privately, which needs no right to write the file; but before 8.2 it opens the file for
 * writing all the same. The template must not be writable by its clones, so the kernel refuses. This library, loaded
 * into QEMU, asks once more, for reading only: what QEMU 8.2 does by itself. It can nothing that the program could not.
 *
 * Build: gcc -shared -fPIC -nostdlib; it uses nothing but system calls and the C library's errno.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <sys/syscall.h>

static int open_at(const char *path, int flags, unsigned mode) {
    register long mode_ __asm__("r10") = mode;
    long answer;
    __asm__ volatile("syscall"
                     : "=a"(answer)
                     : "a"(SYS_openat), "D"((long)AT_FDCWD), "S"(path), "d"((long)flags), "r"(mode_)
                     : "rcx", "r11", "memory");
    return (int)answer;
}

static int open_or_read(const char *path, int flags, unsigned mode) {
    int file = open_at(path, flags, mode);
    if ((file == -EROFS || file == -EACCES) && (flags & (O_ACCMODE | O_CREAT)) == O_RDWR)
        file = open_at(path, (flags & ~O_ACCMODE) | O_RDONLY, mode);
    if (file >= 0)
        return file;
    errno = -file;
    return -1;
}

int open64(const char *path, int flags, ...) {
    va_list arguments;
    va_start(arguments, flags);
    unsigned mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(arguments, unsigned) : 0;
    va_end(arguments);
    return open_or_read(path, flags, mode);
}

/* What open64 is when the compiler could not see that no mode is needed. */
int __open64_2(const char *path, int flags) {
    return open_or_read(path, flags, 0);
}
