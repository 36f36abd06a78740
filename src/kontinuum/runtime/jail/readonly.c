/* For QEMU before 8.2: a file that is mapped privately is only read.
 *
 * QEMU maps a clone's memory privately, which needs no right to write the file; but before 8.2 it opens the file for
 * writing all the same, and when the guest gives memory back it punches holes into it. The template must not be writable
 * by its clones, so the kernel refuses both. This library, loaded into QEMU, asks once more, for reading only, which is
 * what QEMU 8.2 does by itself; and has nothing punched, because dropping the private pages, which QEMU does next, is
 * all that there is to do. It can nothing that the program could not.
 *
 * Build: gcc -shared -fPIC -nostdlib; it uses nothing but system calls and the C library's errno.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <sys/syscall.h>

static long call(long number, long first, long second, long third, long fourth) {
    register long fourth_ __asm__("r10") = fourth;
    long answer;
    __asm__ volatile("syscall"
                     : "=a"(answer)
                     : "a"(number), "D"(first), "S"(second), "d"(third), "r"(fourth_)
                     : "rcx", "r11", "memory");
    return answer;
}

static int answered(long answer) {
    if (answer >= 0)
        return (int)answer;
    errno = (int)-answer;
    return -1;
}

static int open_or_read(const char *path, int flags, unsigned mode) {
    long file = call(SYS_openat, AT_FDCWD, (long)path, flags, mode);
    if ((file == -EROFS || file == -EACCES) && (flags & (O_ACCMODE | O_CREAT)) == O_RDWR)
        file = call(SYS_openat, AT_FDCWD, (long)path, (flags & ~O_ACCMODE) | O_RDONLY, mode);
    return answered(file);
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

int fallocate64(int file, int mode, off_t offset, off_t length) {
    if (mode & FALLOC_FL_PUNCH_HOLE && (call(SYS_fcntl, file, F_GETFL, 0, 0) & O_ACCMODE) == O_RDONLY)
        return 0;
    return answered(call(SYS_fallocate, file, mode, offset, length));
}
