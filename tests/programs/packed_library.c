// The library in the archive: it refers to nothing, so that it can be mapped without a loader.
static __attribute__((noinline, noipa)) long packed_sum(long number, long step) {
    return number + step;
}

long packed_entry(long number, long step) { return packed_sum(number, step) + 1; }
