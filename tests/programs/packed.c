// A program that runs code out of an archive, as app packages are run: `packed make LIBRARY ARCHIVE` makes one, in which the library lies
// uncompressed at the start of a page; `packed run ARCHIVE N` maps the library from there and calls its entry N times, and so many times
// code at byte 2048 of the archive, which belongs to no library.
#include <elf.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PAGE = 4096, BARE = 2048, LOCAL = 30, ENTRY = 46, END = 22, STORED = 0, DEFLATED = 8 };

// lea 1(%rdi), %rax; ret
static const unsigned char bare[] = { 0x48, 0x8d, 0x47, 0x01, 0xc3 };

static void put(unsigned char *to, size_t size, uint64_t value) {
    for (size_t n = 0; n < size; n++) to[n] = value >> 8 * n;
}

// Writes what stands before a file's data, and the file's entry of the directory.
static void describe(unsigned char *local, unsigned char *entry, const char *name, int method, size_t size, size_t start, size_t extra) {
    put(local, 4, 0x04034b50);
    put(local + 8, 2, method);
    put(local + 18, 4, size);
    put(local + 22, 4, size);
    put(local + 26, 2, strlen(name));
    put(local + 28, 2, extra);
    memcpy(local + LOCAL, name, strlen(name));
    put(entry, 4, 0x02014b50);
    put(entry + 10, 2, method);
    put(entry + 20, 4, size);
    put(entry + 24, 4, size + (method != STORED));
    put(entry + 28, 2, strlen(name));
    put(entry + 42, 4, start);
    memcpy(entry + ENTRY, name, strlen(name));
}

static int make(const char *library, const char *archive) {
    const char *packed = "lib/compressed.so", *stored = "lib/packed.so";
    static unsigned char head[PAGE], directory[1024], data[1 << 20];
    int file = open(library, O_RDONLY);
    ssize_t size = read(file, data, sizeof data);
    if (size <= 0) return 1;
    // First a compressed file of one byte, then the library.
    size_t second = LOCAL + strlen(packed) + 1, at = ENTRY + strlen(packed);
    describe(head, directory, packed, DEFLATED, 1, 0, 0);
    describe(head + second, directory + at, stored, STORED, size, second, PAGE - second - LOCAL - strlen(stored));
    memcpy(head + BARE, bare, sizeof bare);
    at += ENTRY + strlen(stored);
    unsigned char end[END] = {0};
    put(end, 4, 0x06054b50);
    put(end + 8, 2, 2);
    put(end + 10, 2, 2);
    put(end + 12, 4, at);
    put(end + 16, 4, PAGE + size);
    FILE *out = fopen(archive, "w");
    if (!out) return 1;
    fwrite(head, 1, PAGE, out);
    fwrite(data, 1, size, out);
    fwrite(directory, 1, at, out);
    fwrite(end, 1, END, out);
    return fclose(out);
}

static int run(const char *archive, long rounds) {
    int file = open(archive, O_RDONLY);
    Elf64_Ehdr header;
    if (pread(file, &header, sizeof header, PAGE) != sizeof header) return 1;
    char *base = mmap(NULL, 1 << 20, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (int n = 0; n < header.e_phnum; n++) {
        Elf64_Phdr segment;
        if (pread(file, &segment, sizeof segment, PAGE + header.e_phoff + n * sizeof segment) != sizeof segment) return 1;
        if (segment.p_type != PT_LOAD) continue;
        size_t before = segment.p_vaddr % PAGE;
        int access = segment.p_flags & PF_X ? PROT_READ | PROT_EXEC : PROT_READ;
        mmap(base + segment.p_vaddr - before, segment.p_filesz + before, access, MAP_PRIVATE | MAP_FIXED, file,
             PAGE + segment.p_offset - before);
    }
    long (*entry)(long, long) = (long (*)(long, long))(base + header.e_entry);
    long (*plain)(long) = (long (*)(long))((char *)mmap(NULL, PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE, file, 0) + BARE);
    long sum = 0;
    for (long n = 0; n < rounds; n++) sum += plain(entry(n, 10));
    printf("%ld\n", sum);
    return 0;
}

int main(int argc, char **argv) {
    if (argc == 4 && !strcmp(argv[1], "make")) return make(argv[2], argv[3]);
    if (argc == 4 && !strcmp(argv[1], "run")) return run(argv[2], atol(argv[3]));
    return 2;
}
